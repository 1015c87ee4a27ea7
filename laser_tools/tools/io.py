"""Ways for a tool's body to wait, so that it is written once for `_run` and `_arun`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, TypeVar, TypeVarTuple

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event

from laser_tools.engine.base import Engine
from laser_tools.progress import Listener
from laser_tools.schema import AnswerRequest, GroundedAnswer, ZoomRequest, ZoomResult
from laser_tools.tools.graph_stream import graph_listener, stream_writer

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PROGRESS_EVENT = "laser_progress"
ToolName = Literal["grounded_vqa", "zoom_to_evidence"]
Stage = Literal["image", "model", "done"]


@dataclass(frozen=True)
class Progress:
    """The stage that a call of a tool has come to; `image` is the handle it is about."""

    tool: ToolName
    stage: Stage
    image: str


class ToolIO(Protocol):
    """The calls that a tool's body may wait for."""

    async def answer(self, request: AnswerRequest) -> GroundedAnswer: ...

    async def zoom(self, request: ZoomRequest) -> ZoomResult: ...

    async def work(self, do: Callable[[*Ts], T], *args: *Ts) -> T:
        """Do what would hold up an event loop, such as encoding an image."""
        ...

    async def tell(self, progress: Progress) -> None:
        """Tell whoever listens to this call how far it is."""
        ...

    def listener(self, tool: ToolName, image: str) -> Listener | None:
        """The listener of the model's stages and of the answer's tokens, if there is one."""
        ...


@dataclass(frozen=True)
class SyncIO:
    """A `ToolIO` that never suspends: see `run_sync`."""

    engine: Engine

    async def answer(self, request: AnswerRequest) -> GroundedAnswer:
        return self.engine.answer([request])[0]

    async def zoom(self, request: ZoomRequest) -> ZoomResult:
        return self.engine.zoom([request])[0]

    async def work(self, do: Callable[[*Ts], T], *args: *Ts) -> T:
        return do(*args)

    async def tell(self, progress: Progress) -> None:
        dispatch_custom_event(PROGRESS_EVENT, asdict(progress))
        _write(progress)

    def listener(self, tool: ToolName, image: str) -> Listener | None:
        return graph_listener(tool=tool, image=image)


@dataclass(frozen=True)
class AsyncIO:
    """A `ToolIO` of an event loop; cancelling the body stops the model."""

    engine: Engine

    async def answer(self, request: AnswerRequest) -> GroundedAnswer:
        return (await self.engine.aanswer([request]))[0]

    async def zoom(self, request: ZoomRequest) -> ZoomResult:
        return (await self.engine.azoom([request]))[0]

    async def work(self, do: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.to_thread(do, *args)

    async def tell(self, progress: Progress) -> None:
        await adispatch_custom_event(PROGRESS_EVENT, asdict(progress))
        _write(progress)

    def listener(self, tool: ToolName, image: str) -> Listener | None:
        return graph_listener(tool=tool, image=image)


def _write(progress: Progress) -> None:
    if write := stream_writer():
        write(asdict(progress))


def run_sync(body: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine over `SyncIO`, which runs through without an event loop."""
    try:
        body.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    body.close()
    raise RuntimeError("The coroutine waited for something.")
