"""An engine for a process of its own, which fails as the question says; no torch."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from time import sleep

from laser_tools.engine.base import Engine, Request, Result, listener_of
from laser_tools.errors import Busy, Cancelled, ModelUnavailable
from laser_tools.progress import StageEvent, TokenEvent
from laser_tools.stop import ShouldStop, never
from laser_tools.worker.settings import WorkerSettings
from tests.gated import asked
from tests.worker.harness import CANARY, ScriptedEngine


class FailingEngine(Engine):
    """`pid` and `pixels` are answered by those of this process and of the image.

    `slow` works until it is told to stop, `a while` for a second, `wedge` for ever; `crash` and
    `cuda` end the process, `bug` and `busy` only the request. A listener hears of `tell`. Anything
    else is echoed.
    """

    def serve(self, requests: Sequence[Request], should_stop: ShouldStop = never) -> list[Result]:
        return [_served(request, should_stop) for request in requests]


def _served(request: Request, should_stop: ShouldStop) -> Result:
    word = asked(request)
    if word == "tell" and (listener := listener_of(request)):
        listener(StageEvent(stage="decode"))
        listener(TokenEvent(token=word, start=0))
    if word == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == "cuda":
        raise RuntimeError(f"CUDA error: device-side assert triggered {CANARY}")
    if word == "bug":
        raise ZeroDivisionError(CANARY)
    if word == "busy":
        raise Busy(7)
    while word in ("slow", "wedge"):
        sleep(0.005)
        if word == "slow" and should_stop():
            raise Cancelled
    if word == "a while":
        sleep(1.0)
    said = {"pid": str(os.getpid()), "pixels": fingerprint(request)}.get(word, word)
    return ScriptedEngine().result(request.model_copy(update={"question": said}))


def fingerprint(request: Request) -> str:
    return hashlib.sha256(request.image.pixels.tobytes()).hexdigest()


def load(settings: WorkerSettings) -> Engine:
    return FailingEngine()


def refuses(settings: WorkerSettings) -> Engine:
    raise ModelUnavailable("There is no such model.")


def dies(settings: WorkerSettings) -> Engine:
    os.kill(os.getpid(), signal.SIGKILL)
    return FailingEngine()


def once(settings: WorkerSettings) -> Engine:
    """A loader that works the first time only; the file `settings.model` keeps count."""
    with Path(settings.model).open("a") as loads:
        if loads.tell():
            raise ModelUnavailable("The model is not there any more.")
        loads.write("loaded")
    return FailingEngine()
