"""How a call of a tool waits, so that its body is written once for `_run` and for `_arun`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, TypeVarTuple

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event

from laser_tools.engine.base import AsyncEngine, Engine
from laser_tools.schema import AnswerRequest, GroundedAnswer, ZoomRequest, ZoomResult

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Waits(Protocol):
    """What a tool's body may wait for."""

    async def answer(self, request: AnswerRequest) -> GroundedAnswer: ...

    async def zoom(self, request: ZoomRequest) -> ZoomResult: ...

    async def work(self, do: Callable[[*Ts], T], *args: *Ts) -> T:
        """Something that would hold up an event loop, such as encoding an image."""
        ...

    async def tell(self, event: str, data: object) -> None:
        """A custom event for whoever listens to this run."""
        ...


@dataclass(frozen=True)
class Blocking:
    """`Waits` that never suspend: see `finished`."""

    engine: Engine

    async def answer(self, request: AnswerRequest) -> GroundedAnswer:
        return self.engine.answer([request])[0]

    async def zoom(self, request: ZoomRequest) -> ZoomResult:
        return self.engine.zoom([request])[0]

    async def work(self, do: Callable[[*Ts], T], *args: *Ts) -> T:
        return do(*args)

    async def tell(self, event: str, data: object) -> None:
        dispatch_custom_event(event, data)


@dataclass(frozen=True)
class Awaiting:
    """`Waits` of an event loop. Cancelling the body stops an `AsyncEngine`; any other one, which
    cannot be told, works on in its thread."""

    engine: Engine

    async def answer(self, request: AnswerRequest) -> GroundedAnswer:
        if isinstance(self.engine, AsyncEngine):
            return (await self.engine.aanswer([request]))[0]
        return (await asyncio.to_thread(self.engine.answer, [request]))[0]

    async def zoom(self, request: ZoomRequest) -> ZoomResult:
        if isinstance(self.engine, AsyncEngine):
            return (await self.engine.azoom([request]))[0]
        return (await asyncio.to_thread(self.engine.zoom, [request]))[0]

    async def work(self, do: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.to_thread(do, *args)

    async def tell(self, event: str, data: object) -> None:
        await adispatch_custom_event(event, data)


def finished(body: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine over `Blocking`, which runs through without an event loop."""
    try:
        body.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    body.close()
    raise RuntimeError("The coroutine waited for something.")
