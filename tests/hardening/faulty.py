"""A worker whose engine fails where a question says so, for `tests.hardening` alone.

    python -m tests.hardening.faulty

It is `laser-tools serve`, configured by LASER_* variables. A question that ends in ` [kind@stage]`
is asked without its mark, and the fault happens once the model reaches that stage.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from laser_tools.engine.base import Engine, Request, Result
from laser_tools.errors import Cancelled
from laser_tools.progress import StageName
from laser_tools.schema import AnswerRequest
from laser_tools.stop import ShouldStop, never
from laser_tools.vlm.stages import Clock
from laser_tools.worker.backends.local import LocalBackend, load_engine
from laser_tools.worker.http.record import log_event
from laser_tools.worker.run import log_to_stderr, serve
from laser_tools.worker.settings import WorkerSettings, worker_settings
from tests.hardening.exit_with_parent import end_with_parent
from tests.hardening.sizes import STAGES

OUTSIDE = "outside"  # of the engine, which recovers from want of memory by itself
KINDS = ("oom-once", "oom", "cuda", "wedge", "slow")
STRUCK, STOPPED = "struck", "stopped"  # events in the log
_MARK = re.compile(rf" \[({'|'.join(KINDS)})@({'|'.join((*STAGES, OUTSIDE))})\]$")
FOREVER_S = 3600.0


@dataclass
class Plan:
    """The one fault that waits for its stage. Only the model's thread looks at it."""

    kind: str = ""
    stage: str = ""
    should_stop: ShouldStop = never

    def strike(self, stage: str) -> None:
        if not self.kind or stage != self.stage:
            return
        kind = self.kind
        if kind == "oom-once":
            self.kind = ""
        log_event(STRUCK, kind=kind, stage=stage)
        if kind.startswith("oom"):
            if stage == OUTSIDE:
                raise RuntimeError("CUDA error: out of memory")
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        if kind == "cuda":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        self._stay(asking=kind == "slow")

    def _stay(self, *, asking: bool) -> None:
        end_s = time.monotonic() + FOREVER_S
        while time.monotonic() < end_s:
            time.sleep(0.002)
            if asking and self._told_to_stop():
                raise Cancelled

    def _told_to_stop(self) -> bool:
        told = self.should_stop()
        if told:
            log_event(STOPPED, at_s=time.monotonic())
        return told


PLAN = Plan()


class FaultyClock(Clock):
    """The engine's clock, which is told of every stage as it begins."""

    @contextmanager
    def stage(self, name: StageName, items: Sequence[int]) -> Iterator[None]:
        with super().stage(name, items):
            PLAN.strike(name)
            yield


@dataclass(frozen=True)
class FaultyEngine(Engine):
    """Takes the marks off the questions, and plans their fault."""

    engine: Engine

    def serve(self, requests: Sequence[Request], should_stop: ShouldStop = never) -> list[Result]:
        questions = [request.question for request in requests if isinstance(request, AnswerRequest)]
        marks = [found for question in questions if (found := _MARK.search(question))]
        PLAN.kind, PLAN.stage = marks[0].groups() if marks else ("", "")
        PLAN.should_stop = should_stop
        try:
            PLAN.strike(OUTSIDE)
            return self.engine.serve([_plain(request) for request in requests], should_stop)
        finally:
            PLAN.kind = ""


def _plain(request: Request) -> Request:
    if not isinstance(request, AnswerRequest):
        return request
    return request.model_copy(update={"question": _MARK.sub("", request.question)})


def _faulty(settings: WorkerSettings) -> FaultyEngine:
    return FaultyEngine(replace(load_engine(settings), observe=FaultyClock))


def main() -> None:
    end_with_parent()
    log_to_stderr()
    settings = worker_settings()
    code = serve(settings, LocalBackend(settings, lambda: _faulty(settings)))
    os._exit(code)  # as `laser-tools serve` does: a wedged thread never ends


if __name__ == "__main__":
    main()
