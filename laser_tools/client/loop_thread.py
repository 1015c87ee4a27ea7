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
    """Runs coroutines while it holds `resource` open. The thread never keeps the process alive.

    anyio's blocking portal would be shorter, but one that nobody closes hangs the interpreter's
    exit (4.16.0), and nobody has to close an engine.

    Raises OSError where there is no file descriptor left for an event loop.
    """

    def __init__(self, resource: AbstractAsyncContextManager[object], name: str) -> None:
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, args=(resource,), name=name, daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error

    @property
    def alive(self) -> bool:
        """False once it has ended, and in a process that was forked off: threads stay behind."""
        return self._thread.is_alive()

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
        if self.alive and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        if threading.current_thread() is not self._thread:  # a finalizer may run anywhere
            self._thread.join()

    def _run(self, resource: AbstractAsyncContextManager[object]) -> None:
        try:
            asyncio.run(self._serve(resource))
        except OSError as error:
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self, resource: AbstractAsyncContextManager[object]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with resource:
            self._ready.set()
            await self._stop.wait()
            running = asyncio.all_tasks() - {asyncio.current_task()}
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
