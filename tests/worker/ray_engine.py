"""The packaged model, which replicas load, with two questions that show what Ray does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import monotonic, sleep

from laser_tools.engine.base import Engine, Request, Result
from laser_tools.errors import Cancelled
from laser_tools.schema import AnswerRequest
from laser_tools.stop import ShouldStop, never
from laser_tools.worker.backends.local import load_engine
from laser_tools.worker.settings import WorkerSettings
from tests.gated import answered

LONG_S = 3.0
SPECIAL = ("pid", "long")


class SpecialEngine(Engine):
    """`pid` is answered by the process that serves it; `long` takes a while, and asks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def serve(self, requests: Sequence[Request], should_stop: ShouldStop = never) -> list[Result]:
        return [self._serve(request, should_stop) for request in requests]

    def _serve(self, request: Request, should_stop: ShouldStop) -> Result:
        if not isinstance(request, AnswerRequest) or request.question not in SPECIAL:
            return self._engine.serve([request], should_stop)[0]
        end_s = monotonic() + (LONG_S if request.question == "long" else 0.0)
        while monotonic() < end_s:
            if should_stop():
                raise Cancelled
            sleep(0.01)
        return answered(request).model_copy(update={"answer": str(os.getpid())})


def load(settings: WorkerSettings) -> Engine:
    return SpecialEngine(load_engine(settings))
