"""Seconds by stage, charged to the requests that went through it, where somebody wants to know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter
from typing import Protocol, get_args

from laser_tools.progress import Listener, StageEvent, StageName

STAGES: tuple[StageName, ...] = get_args(StageName)


class Observer(Protocol):
    """Listens to the stages of a batch."""

    def stage(self, name: StageName, items: Sequence[int]) -> AbstractContextManager[None]:
        """A context around a stage in which the requests `items` (indices) take part."""
        ...

    def timings_s(self) -> list[dict[str, float]]:
        """Per request, seconds by stage and in total; empty where nothing was measured."""
        ...


class Unobserved:
    """An `Observer` that measures nothing, for a batch of `n` requests."""

    def __init__(self, n: int) -> None:
        self._n = n

    def stage(self, name: StageName, items: Sequence[int]) -> AbstractContextManager[None]:
        return nullcontext()

    def timings_s(self) -> list[dict[str, float]]:
        return [{} for _ in range(self._n)]


class Clock:
    """An `Observer` with a stop-watch. A stage's time is shared by the requests that took part.

    So a request that is answered directly does not pay for the crops of its neighbours.
    """

    def __init__(self, n: int, wait: Callable[[], None] = lambda: None) -> None:
        """`wait` returns once the device has done what it was given so far.

        Without it the times on a GPU are those of the Python code that gives the GPU its work.
        """
        self._wait = wait
        self._started = perf_counter()
        self._seconds: list[dict[str, float]] = [dict.fromkeys(STAGES, 0.0) for _ in range(n)]

    def timings_s(self) -> list[dict[str, float]]:
        """Seconds by stage for each request; time outside all stages is shared equally."""
        total = perf_counter() - self._started
        known = sum(sum(stages.values()) for stages in self._seconds)
        rest = (total - known) / max(len(self._seconds), 1)
        return [{**stages, "total": sum(stages.values()) + rest} for stages in self._seconds]

    @contextmanager
    def stage(self, name: StageName, items: Sequence[int]) -> Iterator[None]:
        self._wait()
        started = perf_counter()
        try:
            yield
        finally:
            self._wait()
            share = (perf_counter() - started) / max(len(items), 1)
            for item in items:
                self._seconds[item][name] += share


class Overheard:
    """An `Observer` whose stages the listeners of the requests hear of, as well as another one."""

    def __init__(self, observer: Observer, listeners: Sequence[Listener | None]) -> None:
        self._observer = observer
        self._listeners = listeners
        self._last: list[StageName | None] = [None] * len(listeners)

    def timings_s(self) -> list[dict[str, float]]:
        return self._observer.timings_s()

    def stage(self, name: StageName, items: Sequence[int]) -> AbstractContextManager[None]:
        for item in items:
            self._tell(item, name)
        return self._observer.stage(name, items)

    def _tell(self, item: int, name: StageName) -> None:
        """Tell of a stage, but not twice in a row."""
        listener, last = self._listeners[item], self._last[item]
        self._last[item] = name
        if listener is not None and name != last:
            listener(StageEvent(stage=name))
