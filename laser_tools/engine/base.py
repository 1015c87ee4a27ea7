"""The engine: one verb to implement, and the methods that callers use, written once above it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from threading import Event
from typing import Literal, cast

from laser_tools.progress import Listener
from laser_tools.schema import (
    AnswerRequest,
    GroundedAnswer,
    MethodName,
    ZoomRequest,
    ZoomResult,
)
from laser_tools.stop import ShouldStop, never

Request = AnswerRequest | ZoomRequest
Result = GroundedAnswer | ZoomResult


Kind = MethodName | Literal["zoom"]


def kind_of(request: Request) -> Kind:
    """A request's method, or "zoom"; requests of one kind can share a batch."""
    return request.method if isinstance(request, AnswerRequest) else "zoom"


def asked_of(request: Request) -> str:
    """The words of a request."""
    return request.question if isinstance(request, AnswerRequest) else request.what


def listener_of(request: Request) -> Listener | None:
    """The listener of the request's progress, if there is one; a search has none."""
    return request.listener if isinstance(request, AnswerRequest) else None


class Engine(ABC):
    """Answers questions about images and says where to look, in this process or elsewhere.

    A subclass implements `serve`, and overrides `aserve` if it can wait without a thread. Expected
    failures are `LaserError`s. Every method may be called from several threads at once.
    """

    @abstractmethod
    def serve(self, requests: Sequence[Request], should_stop: ShouldStop = never) -> list[Result]:
        """One result per request, in order, of its kind. Boxes are in pixels of its image.

        `should_stop` is polled while the model works; Cancelled is raised once it returns true.
        """

    async def aserve(
        self, requests: Sequence[Request], should_stop: ShouldStop = never
    ) -> list[Result]:
        """`serve` in a thread. A cancelled await ends at once, and `serve` when it next polls."""
        gone = Event()
        try:
            return await asyncio.to_thread(
                self.serve, requests, lambda: gone.is_set() or should_stop()
            )
        finally:
            gone.set()

    def answer(
        self, requests: Sequence[AnswerRequest], should_stop: ShouldStop = never
    ) -> list[GroundedAnswer]:
        """Answer each question from its image, with the evidence; raises as `serve` does."""
        return cast("list[GroundedAnswer]", self.serve(requests, should_stop))

    def zoom(
        self, requests: Sequence[ZoomRequest], should_stop: ShouldStop = never
    ) -> list[ZoomResult]:
        """Say where in each image to look; raises as `serve` does."""
        return cast("list[ZoomResult]", self.serve(requests, should_stop))

    async def aanswer(
        self, requests: Sequence[AnswerRequest], should_stop: ShouldStop = never
    ) -> list[GroundedAnswer]:
        """`answer`, awaited; cancelling the await stops the model."""
        return cast("list[GroundedAnswer]", await self.aserve(requests, should_stop))

    async def azoom(
        self, requests: Sequence[ZoomRequest], should_stop: ShouldStop = never
    ) -> list[ZoomResult]:
        """`zoom`, awaited; cancelling the await stops the model."""
        return cast("list[ZoomResult]", await self.aserve(requests, should_stop))
