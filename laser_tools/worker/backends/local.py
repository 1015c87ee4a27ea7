"""The model in this process, behind the queue that batches for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING

from laser_tools.engine.base import Engine, Request, Result
from laser_tools.engine.queue import QueueNumbers
from laser_tools.engine.queued import QueuedEngine
from laser_tools.errors import Misconfigured, MissingExtra, ModelUnavailable
from laser_tools.stop import within
from laser_tools.worker.backends.threads import leave_a_core
from laser_tools.worker.backends.waiting import Waiting
from laser_tools.worker.backends.watch import WatchedEngine, lost
from laser_tools.worker.settings import WorkerSettings

if TYPE_CHECKING:
    from laser_tools.engine.local import LocalEngine

EMPTY = QueueNumbers(queue_depth=0, in_flight=0, batch_sizes=(), waits_s=())


class LocalBackend:
    """`Backend` over the engine that `load` makes, in a thread, at the start."""

    def __init__(self, settings: WorkerSettings, load: Callable[[], Engine]) -> None:
        self._settings = settings
        self._load = load
        self._engine: WatchedEngine | None = None
        self._queue: QueuedEngine | None = None
        self._waiting = Waiting()

    async def start(self) -> None:
        settings = self._settings
        self._engine = WatchedEngine(await asyncio.to_thread(self._load))
        self._queue = QueuedEngine(
            self._engine,
            max_batch_size=settings.max_batch_size,
            max_wait_ms=settings.max_wait_ms,
            max_queued=settings.max_queued,
        )

    async def stop(self) -> None:
        """Drains for at most `drain_s`; an engine that is lost is not waited for."""
        if self._queue is None or self.fault():
            return
        # A daemon: a thread of asyncio's pool would keep the process alive if the model hangs.
        closing = Thread(target=self._queue.close, name="laser-close", daemon=True)
        closing.start()
        end_s = asyncio.get_running_loop().time() + self._settings.drain_s
        while closing.is_alive() and asyncio.get_running_loop().time() < end_s:
            await asyncio.sleep(0.01)

    async def serve(self, request: Request, deadline_s: float) -> Result:
        call = self._running().aserve([request], within(deadline_s))
        # The deadline also holds here: a model may not ask in time.
        return (await self._waiting.result(call, deadline_s))[0]

    def ready(self) -> bool:
        return self._queue is not None

    def numbers(self) -> QueueNumbers:
        return self._queue.numbers() if self._queue else EMPTY

    def fault(self) -> str | None:
        if self._engine is not None and self._engine.fault:
            return self._engine.fault
        return "abandoned" if self._waiting.abandoned else None

    def heartbeat_age_s(self) -> float:
        return self._engine.heartbeat_age_s() if self._engine else 0.0

    def abandon(self) -> None:
        self._waiting.abandon()

    def _running(self) -> QueuedEngine:
        if self._queue is None:
            raise ModelUnavailable("The model is being loaded. Try again soon.")
        if self.fault():
            raise lost()
        return self._queue


def local_backend(settings: WorkerSettings) -> LocalBackend:
    """The backend of `laser-tools serve`."""
    return LocalBackend(settings, lambda: load_engine(settings))


def load_engine(settings: WorkerSettings) -> LocalEngine:
    """The model that the settings name. Raises ModelUnavailable, Misconfigured, MissingExtra."""
    try:
        import torch

        from laser_tools.engine.local import LocalEngine
    except ModuleNotFoundError as error:
        raise MissingExtra("Running a model in this process", "engine") from error
    leave_a_core()
    if settings.device is not None:
        _check_device(settings.device)
    engine = LocalEngine.from_pretrained(
        settings.model,
        device=settings.device,
        dtype=None if settings.dtype is None else getattr(torch, settings.dtype),
        revision=settings.revision,
        freeze_visual_layers=settings.freeze_visual_layers,
    )
    return replace(engine, batch_size=settings.max_batch_size)


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # no such name; torch was built without that backend
        raise Misconfigured(
            "LASER_DEVICE (--device) must be a device that torch can use on this machine."
        ) from None
