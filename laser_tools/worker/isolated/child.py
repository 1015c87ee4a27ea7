"""The model's process: requests come through a pipe, and results or refusals go back.

To the child: a sequence of requests, or STOP. From it: BEAT and `Told` while the model works, then
the results or a `Refusal`. The first outcome, before any request, says whether the model could be
loaded.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Thread
from time import monotonic

from laser_tools.engine.base import Engine, Request, Result
from laser_tools.errors import LaserError
from laser_tools.stop import ShouldStop, never
from laser_tools.worker.backends.refusal import Refusal
from laser_tools.worker.backends.watch import WatchedEngine
from laser_tools.worker.http.record import log_event
from laser_tools.worker.http.refusals import Internal
from laser_tools.worker.isolated.listening import with_pipe
from laser_tools.worker.run import log_to_stderr
from laser_tools.worker.settings import WorkerSettings

STOP = "stop"  # nobody waits for the requests that were sent last
BEAT = "beat"  # the model asked whether to go on
BEAT_S = 0.05  # at most so often

Load = Callable[[WorkerSettings], Engine]
Outcome = list[Result] | Refusal


def main(parent: Connection, settings: WorkerSettings, load: Load) -> None:
    """Serve until the parent closes its end of the pipe, or the device is lost."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a group's signals: the parent drains through us
    Thread(target=_end_with_parent, name="laser-parent", daemon=True).start()
    log_to_stderr()
    with suppress(EOFError, BrokenPipeError):
        _serve(parent, settings, load)
    os._exit(0)  # a thread that hangs in a driver would hold up the interpreter's own way out


def _serve(parent: Connection, settings: WorkerSettings, load: Load) -> None:
    engines: list[WatchedEngine] = []

    def loaded(_: Sequence[Request], __: ShouldStop) -> list[Result]:
        engines.append(WatchedEngine(load(settings)))
        return []

    parent.send(_outcome(loaded, [], never))
    while engines and engines[0].fault is None:
        requests = parent.recv()
        if requests != STOP:  # or it came too late
            heard = with_pipe(requests, parent)
            parent.send(_outcome(engines[0].serve, heard, _asking(parent)))


def _outcome(
    serve: Callable[[Sequence[Request], ShouldStop], list[Result]],
    requests: Sequence[Request],
    should_stop: ShouldStop,
) -> Outcome:
    try:
        return serve(requests, should_stop)
    except LaserError as error:
        return Refusal.of(error)
    except Exception as error:
        log_event("error", error=type(error).__name__)  # its text may hold anything
        return Refusal.of(Internal())


def _asking(parent: Connection) -> ShouldStop:
    """Tell the parent that the model lives, and return whether it has said STOP."""
    last_s = monotonic()

    def should_stop() -> bool:
        nonlocal last_s
        if monotonic() - last_s >= BEAT_S:
            last_s = monotonic()
            parent.send(BEAT)
        return parent.poll()

    return should_stop


def _end_with_parent() -> None:
    """Exit when the parent ends, also in the middle of a pass, where nobody reads the pipe."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
