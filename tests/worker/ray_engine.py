"""The packaged model, which replicas load, with two questions that show what Ray does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import monotonic, sleep

from laser_tools.engine.base import StoppableEngine
from laser_tools.errors import Cancelled
from laser_tools.schema import AnswerRequest, GroundedAnswer, ZoomRequest, ZoomResult
from laser_tools.stop import ShouldStop
from laser_tools.worker.backends.local import load_engine
from laser_tools.worker.settings import WorkerSettings
from tests.gated import answered

LONG_S = 3.0
SPECIAL = ("pid", "long")


class SpecialEngine:
    """`pid` is answered by the process that serves it; `long` takes a while, and asks."""

    def __init__(self, engine: StoppableEngine) -> None:
        self._engine = engine

    def answer(
        self, requests: Sequence[AnswerRequest], should_stop: ShouldStop
    ) -> list[GroundedAnswer]:
        return [self._answer(request, should_stop) for request in requests]

    def zoom(self, requests: Sequence[ZoomRequest], should_stop: ShouldStop) -> list[ZoomResult]:
        return self._engine.zoom(requests, should_stop)

    def _answer(self, request: AnswerRequest, should_stop: ShouldStop) -> GroundedAnswer:
        if request.question not in SPECIAL:
            return self._engine.answer([request], should_stop)[0]
        end_s = monotonic() + (LONG_S if request.question == "long" else 0.0)
        while monotonic() < end_s:
            if should_stop():
                raise Cancelled
            sleep(0.01)
        return answered(request).model_copy(update={"answer": str(os.getpid())})


def load(settings: WorkerSettings) -> StoppableEngine:
    return SpecialEngine(load_engine(settings))
