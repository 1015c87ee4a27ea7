"""Progress: events that a request's listener hears while the model works on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

StageName = Literal["encode", "attend", "crop", "decode"]
"""Stages of a request: an image's prefix is made, attention is read, a region is cut out, an answer
is decoded. A request may come to a stage more than once."""


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)  # fields that a later version adds are ignored


class StageEvent(_Event):
    """A stage has begun."""

    stage: StageName = Field(description="encode, attend, crop or decode")


class TokenEvent(_Event):
    """A piece of the answer has been decided, on the route that gives the answer.

    A batch that fails is run again in parts: then pieces come again, and replace what was told from
    `start` on. Answers that may still be withheld or replaced come in no pieces.
    """

    token: str = Field(description="Text that follows")
    start: int = Field(ge=0, description="Characters of the answer before it; the rest is replaced")


Event = StageEvent | TokenEvent

Listener = Callable[[Event], None]
"""A callable that hears the events of one request, in order.

It is called in the thread that runs the model, or reads from its worker: it must be quick, and must
not raise.
"""


def stages_alone(listener: Listener) -> Listener:
    """A listener that passes on which stage begins, and nothing of the answer."""

    def listen(event: Event) -> None:
        if isinstance(event, StageEvent):
            listener(event)

    return listen
