"""What the tools need of an engine, whether it runs in this process or elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from laser_tools.schema import AnswerRequest, GroundedAnswer, ZoomRequest, ZoomResult
from laser_tools.stop import ShouldStop


@runtime_checkable
class Engine(Protocol):
    """Batch first: one result per request, in order. Boxes are in pixels of the request's image.

    Expected failures are `LaserError`s. Both methods may be called from several threads at once.
    """

    def answer(self, requests: Sequence[AnswerRequest]) -> list[GroundedAnswer]:
        """Answer each question from its image, with the evidence."""
        ...

    def zoom(self, requests: Sequence[ZoomRequest]) -> list[ZoomResult]:
        """Say where in each image to look."""
        ...


@runtime_checkable
class AsyncEngine(Protocol):
    """An `Engine` that can also be awaited. Cancelling the await stops the model."""

    async def aanswer(self, requests: Sequence[AnswerRequest]) -> list[GroundedAnswer]: ...

    async def azoom(self, requests: Sequence[ZoomRequest]) -> list[ZoomResult]: ...


class StoppableEngine(Protocol):
    """An `Engine` that asks while it works whether to go on, as `ShouldStop` says."""

    def answer(
        self, requests: Sequence[AnswerRequest], should_stop: ShouldStop
    ) -> list[GroundedAnswer]: ...

    def zoom(
        self, requests: Sequence[ZoomRequest], should_stop: ShouldStop
    ) -> list[ZoomResult]: ...
