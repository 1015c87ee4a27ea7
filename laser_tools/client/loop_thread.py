"""An event loop in a thread of its own, for callers with no loop and for callers with many."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines while it holds `resource` open. The thread never keeps the process alive."""

    def __init__(self, resource: AbstractAsyncContextManager[object], name: str) -> None:
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(resource)), name=name, daemon=True
        )
        self._thread.start()
        self._ready.wait()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine there; cancelling the future cancels it. RuntimeError after `close`."""
        assert self._loop is not None
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise

    def close(self) -> None:
        """Cancel what runs, close the resource, end the thread. A second call does nothing."""
        assert self._loop is not None
        assert self._stop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        if threading.current_thread() is not self._thread:  # a finalizer may run anywhere
            self._thread.join()

    async def _serve(self, resource: AbstractAsyncContextManager[object]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with resource:
            self._ready.set()
            await self._stop.wait()
            running = asyncio.all_tasks() - {asyncio.current_task()}
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
