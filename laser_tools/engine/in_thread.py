"""A call that blocks, awaited in a thread; cancelling the await stops the model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from threading import Event
from typing import TypeVar

from laser_tools.schema import AnswerRequest, GroundedAnswer, ZoomRequest, ZoomResult
from laser_tools.stop import ShouldStop

RequestT = TypeVar("RequestT", AnswerRequest, ZoomRequest)
ResultT = TypeVar("ResultT", GroundedAnswer, ZoomResult)


async def in_thread(
    serve: Callable[[Sequence[RequestT], ShouldStop], list[ResultT]],
    requests: Sequence[RequestT],
) -> list[ResultT]:
    """What `serve` returns. A cancelled await ends at once, and `serve` when it next asks."""
    gone = Event()
    try:
        return await asyncio.to_thread(serve, requests, gone.is_set)
    finally:
        gone.set()
