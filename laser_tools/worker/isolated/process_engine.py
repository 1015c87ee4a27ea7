"""An engine over a model in a process of its own, which is started again when it ends."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Lock, Thread
from time import monotonic

from laser_tools.engine.base import Engine, Request, Result
from laser_tools.errors import Cancelled, ModelUnavailable
from laser_tools.stop import ShouldStop, never
from laser_tools.worker.backends.refusal import Refusal
from laser_tools.worker.backends.watch import lost
from laser_tools.worker.http.record import log_event
from laser_tools.worker.isolated.child import BEAT, STOP, Load, Outcome, main
from laser_tools.worker.isolated.listening import Told, tell, with_pipe
from laser_tools.worker.settings import WorkerSettings

LOOK_S = 0.02  # between two looks at whether the callers still wait
MODEL_LOST = "model_lost"


@dataclass(frozen=True)
class Model:
    """A process with a model, and our end of its pipe."""

    process: BaseProcess
    pipe: Connection

    def outcome(
        self, requests: Sequence[Request], should_stop: ShouldStop, heartbeat_s: float
    ) -> Outcome:
        """Wait for the outcome of the last requests; Cancelled once `should_stop` says so.

        Listeners of `requests` are told meanwhile. A model that gives no sign of life for
        `heartbeat_s` is killed. Raises EOFError, OSError for a process that has ended.
        """
        alive_s = monotonic()
        while True:
            if self.pipe.poll(LOOK_S):
                message = self.pipe.recv()
                alive_s = monotonic()
                if isinstance(message, Told):
                    tell(requests, message)
                elif message != BEAT:
                    outcome: Outcome = message
                    return outcome
            elif monotonic() - alive_s > heartbeat_s:
                log_event("model_wedged")
                self.process.kill()
            if should_stop():
                raise Cancelled


class ProcessEngine(Engine):
    """Serves by the process that `load` is called in; `start` it first, and `close` it.

    What was asked of a process that ends, and what is asked before the next one has loaded its
    model, raises ModelUnavailable. `fault` is set once there will be no other process.
    """

    def __init__(self, settings: WorkerSettings, load: Load) -> None:
        self._settings = settings
        self._load = load
        self._turn = Lock()  # one call at a time
        self._process: BaseProcess | None = None
        self._model: Model | None = None  # None while it is being loaded
        self._closed = False
        self.fault: str | None = None

    @property
    def ready(self) -> bool:
        """True while there is a process that has loaded its model."""
        return self._model is not None

    def start(self) -> ProcessEngine:
        """Return once the model is loaded. Raises why it could not be."""
        atexit.register(self.close)  # multiprocessing would wait for the child to end by itself
        self._model = self._loaded()
        Thread(target=self._tend, name="laser-model", daemon=True).start()
        return self

    def serve(self, requests: Sequence[Request], should_stop: ShouldStop = never) -> list[Result]:
        with self._turn:
            model = self._model
            if model is None:
                raise lost()
            try:
                return self._served(model, requests, should_stop)
            except (EOFError, OSError):
                model.process.kill()  # or what it still sends would answer the next call
                raise lost() from None

    def close(self) -> None:
        """End the process, which then leaves nothing behind."""
        self._closed = True
        atexit.unregister(self.close)
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def _served(
        self, model: Model, requests: Sequence[Request], should_stop: ShouldStop
    ) -> list[Result]:
        heartbeat_s = self._settings.heartbeat_s
        model.pipe.send(with_pipe(requests))
        try:
            outcome = model.outcome(requests, should_stop, heartbeat_s)
        except (EOFError, OSError):
            raise
        except BaseException:  # the caller's, who no longer waits
            model.pipe.send(STOP)
            model.outcome(requests, never, heartbeat_s)
            raise
        return _results(outcome)

    def _loaded(self) -> Model:
        spawn = get_context("spawn")
        ours, theirs = spawn.Pipe()
        arguments = (theirs, self._settings, self._load)
        process = spawn.Process(target=main, args=arguments, name="laser-model", daemon=True)
        process.start()
        theirs.close()  # or the pipe would not end with the process
        self._process = process
        try:
            _results(ours.recv())
        except (EOFError, OSError):
            raise ModelUnavailable(
                "The model's process ended before the model was loaded. Look for what ended it, "
                "such as want of memory."
            ) from None
        return Model(process, ours)

    def _tend(self) -> None:
        """Start another process whenever the model's has ended."""
        while self._model is not None:
            self._model.process.join()
            code, self._model = self._model.process.exitcode, None
            if self._closed:
                return
            log_event("model_ended", exit_code=code)
            try:
                self._model = self._loaded()
            except Exception as error:
                if not self._closed:
                    log_event("model_lost", error=type(error).__name__)
                    self.fault = MODEL_LOST
                return
            log_event("model_ready")


def _results(outcome: Outcome) -> list[Result]:
    if isinstance(outcome, Refusal):
        raise outcome.error()
    return outcome
