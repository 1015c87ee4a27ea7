"""Seconds by stage, charged to the requests that went through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from time import perf_counter

STAGES = ("encode", "attend", "crop", "decode")

Timer = Callable[[str], AbstractContextManager[None]]
"""`with timer("decode"): ...` charges the block to the stage."""


def untimed(_stage: str) -> AbstractContextManager[None]:
    """A timer that charges nobody."""
    return nullcontext()


class Clock:
    """The stages of a batch of `n` requests. A stage's time is shared by those that took part.

    So a request that is answered directly does not pay for the crops of its neighbours.
    """

    def __init__(self, n: int, wait: Callable[[], None] = lambda: None) -> None:
        """`wait` returns once the device has done what it was given so far."""
        self._wait = wait
        self._started = perf_counter()
        self._seconds = [dict.fromkeys(STAGES, 0.0) for _ in range(n)]

    def of(self, items: Iterable[int]) -> Timer:
        """A timer whose blocks are shared equally by the requests `items` (indices)."""
        return partial(self._measure, tuple(items))

    def timings_s(self) -> list[dict[str, float]]:
        """Per request, seconds by stage and in total; what is in no stage is shared by all."""
        total = perf_counter() - self._started
        known = sum(sum(stages.values()) for stages in self._seconds)
        rest = (total - known) / max(len(self._seconds), 1)
        return [{**stages, "total": sum(stages.values()) + rest} for stages in self._seconds]

    @contextmanager
    def _measure(self, items: tuple[int, ...], stage: str) -> Iterator[None]:
        self._wait()
        started = perf_counter()
        try:
            yield
        finally:
            self._wait()
            share = (perf_counter() - started) / max(len(items), 1)
            for item in items:
                self._seconds[item][stage] += share
