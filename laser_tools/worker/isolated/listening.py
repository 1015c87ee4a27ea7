"""Listeners on both sides of the pipe: what the model tells in the child is heard in the parent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from laser_tools.engine.base import Request, listener_of
from laser_tools.progress import Event


@dataclass(frozen=True)
class Told:
    """An event on its way to the parent, and the index of the request that it is about."""

    item: int
    event: Event


@dataclass(frozen=True)
class PipeListener:
    """The child's listener of a request that has one in the parent."""

    item: int
    pipe: Connection | None = None  # None on the way to the child

    def __call__(self, event: Event) -> None:
        if self.pipe is not None:
            self.pipe.send(Told(self.item, event))


def with_pipe(requests: Sequence[Request], pipe: Connection | None = None) -> list[Request]:
    """The requests, their listeners replaced by some that tell the other end of `pipe`.

    In the parent without a pipe, as neither that nor a listener can be sent; in the child with it.
    """
    return [
        request.model_copy(update={"listener": PipeListener(item, pipe)})
        if listener_of(request)
        else request
        for item, request in enumerate(requests)
    ]


def tell(requests: Sequence[Request], told: Told) -> None:
    """Tell the listener in the parent."""
    listener = listener_of(requests[told.item])
    if listener is not None:
        listener(told.event)
