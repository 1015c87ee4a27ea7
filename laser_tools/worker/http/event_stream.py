"""An answer as Server-Sent Events: what its listener is told, then the answer or an error.

A caller who reads slowly delays nobody: the model's thread only drops events into a queue, of which
a request has few (a token each, and its stages). Who takes none of them is cut off (protocol.py).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from laser_tools.progress import Event, Listener
from laser_tools.wire import ANSWER_EVENT, EVENT_STREAM, PROGRESS_EVENTS
from laser_tools.worker.http.record import Record, headers

PING_S = 15.0  # proxies close what is silent, many after a minute
_ZERO = re.compile(r"q=0(\.0*)?")
_NAMES = {kind: name for name, kind in PROGRESS_EVENTS.items()}

Answering = Callable[[Listener], Coroutine[Any, Any, str]]
"""Answers while it tells a listener how far it is; returns the JSON of the response."""

Told = asyncio.Queue[Event | None]
"""Events on their way to the caller; None after the last one."""


class EventStream(EventSourceResponse):
    """A response that begins with the first event, or with a comment after `PING_S` of silence.

    An error before that is raised, so that it gets a status; one after it is raised, too, and the
    journal writes it as the last event.
    """

    def __init__(self, record: Record, answering: Answering) -> None:
        super().__init__((), headers={"X-Accel-Buffering": "no"})  # or nginx would collect events
        self._record = record
        self._answering = answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        told: Told = asyncio.Queue()
        answer = asyncio.ensure_future(self._answering(_listener(told)))
        answer.add_done_callback(lambda done: _end(done, told))
        try:
            await self._stream(told, answer, send)
        finally:
            answer.cancel()

    async def _stream(self, told: Told, answer: asyncio.Future[str], send: Send) -> None:
        part = await _next(told)
        if answer.done():
            answer.result()
        self._record.streaming = True
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        while part is not None:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            part = await _next(told)
        last = encoded(ANSWER_EVENT, await answer)
        self._record.streaming = False
        await send({"type": "http.response.body", "body": last})


def wants_events(scope: Scope) -> bool:
    """True if the caller's Accept headers name event streams, and do not refuse them (q=0)."""
    given = ",".join(headers(scope, "accept")).lower().replace(" ", "")
    accepted = [kind.split(";") for kind in given.split(",")]
    return any(kind == EVENT_STREAM and not _refused(more) for kind, *more in accepted)


def _refused(parameters: Sequence[str]) -> bool:
    """True for a quality of 0, however many of its decimals are given."""
    return any(_ZERO.fullmatch(parameter) for parameter in parameters)


def encoded(name: str, data: str) -> bytes:
    """An event as bytes; `data` is JSON."""
    return format_sse_event(event=name, data_str=data)


def _listener(told: Told) -> Listener:
    """A listener for any thread, that puts what it hears into `told`."""
    loop = asyncio.get_running_loop()

    def listen(event: Event) -> None:
        with suppress(RuntimeError):  # the loop is closed: the worker has ended
            loop.call_soon_threadsafe(told.put_nowait, event)

    return listen


def _end(answer: asyncio.Future[str], told: Told) -> None:
    if not answer.cancelled():
        answer.exception()  # or asyncio would log it where the caller has gone
    told.put_nowait(None)


async def _next(told: Told) -> bytes | None:
    """The next event, or a comment in time for proxies; None after the last event."""
    try:
        async with asyncio.timeout(PING_S):
            event = await told.get()
    except TimeoutError:
        return KEEPALIVE_COMMENT
    return None if event is None else encoded(_NAMES[type(event)], event.model_dump_json())
