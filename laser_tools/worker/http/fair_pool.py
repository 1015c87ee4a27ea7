"""Threads that all keys share, so that a key with many calls delays no other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class FairPool:
    """Runs blocking calls in `n_threads`, at most `per_key` of a key at once, the keys in turn.

    To be used in one event loop. With `per_key` below `n_threads` no key can take all threads.
    """

    def __init__(self, n_threads: int, per_key: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix=name)
        self._n_threads = n_threads
        self._per_key = per_key
        self._running: Counter[int] = Counter()
        # By key, in the order of their turns; each key's oldest call first.
        self._waiting: dict[int, dict[asyncio.Future[Any], Callable[[], Any]]] = {}

    async def run(self, key: int, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Return what `work` returns, or raise what it raises.

        A call that is cancelled before its turn never begins; a running one keeps its thread until
        it ends.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, {})[done] = partial(work, *args)
        self._begin()
        try:
            return await done
        finally:
            self._forget(key, done)

    def close(self) -> None:
        self._threads.shutdown(wait=False)

    def _begin(self) -> None:
        """Give each free thread to the next key."""
        while self._running.total() < self._n_threads:
            key = next((k for k in self._waiting if self._running[k] < self._per_key), None)
            if key is None:
                return
            calls = self._waiting.pop(key)
            done = next(iter(calls))
            work = calls.pop(done)
            if calls:
                self._waiting[key] = calls  # after all others
            self._start(key, done, work)

    def _start(self, key: int, done: asyncio.Future[Any], work: Callable[[], Any]) -> None:
        self._running[key] += 1
        running = asyncio.wrap_future(self._threads.submit(work))
        running.add_done_callback(partial(self._end, key, done))

    def _end(self, key: int, done: asyncio.Future[Any], ended: asyncio.Future[Any]) -> None:
        self._running[key] -= 1
        error = ended.exception()
        if not done.done():  # somebody still waits
            done.set_exception(error) if error else done.set_result(ended.result())
        self._begin()

    def _forget(self, key: int, done: asyncio.Future[Any]) -> None:
        """Let go of a call that has not begun: it holds the body of its request."""
        calls = self._waiting.get(key, {})
        calls.pop(done, None)
        if not calls:
            self._waiting.pop(key, None)
