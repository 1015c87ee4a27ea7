"""A worker's stream of events, heard by a listener as they come."""

from __future__ import annotations

import httpx
from httpx_sse import EventSource

from laser_tools.client.refusals import result_of, worker_name
from laser_tools.errors import ModelUnavailable
from laser_tools.progress import Listener
from laser_tools.wire import ANSWER_EVENT, ERROR_EVENT, EVENT_STREAM, PROGRESS_EVENTS

_LAST = {ANSWER_EVENT: 200, ERROR_EVENT: 500}  # as which status they count


async def read_whole(response: httpx.Response, listener: Listener | None) -> httpx.Response:
    """The response, read to its end; for a stream, the one that its last event stands for.

    Raises:
        ModelUnavailable: the stream ends too early, or has an event that cannot be read.
        httpx.HTTPError: the connection broke.
    """
    try:
        if listener is not None and _is_stream(response):
            return await _last_event(response, listener)
        await response.aread()
        return response
    finally:
        await response.aclose()


def _is_stream(response: httpx.Response) -> bool:
    """False for a refusal, and for workers of earlier versions, which answer at once."""
    kind: str = response.headers.get("Content-Type", "")
    return response.is_success and kind.partition(";")[0].strip().lower() == EVENT_STREAM


async def _last_event(response: httpx.Response, listener: Listener) -> httpx.Response:
    """The last event as a response of its own; the others are for the listener."""
    last: httpx.Response | None = None
    async for event in EventSource(response).aiter_sse():
        said = httpx.Response(
            _LAST.get(event.event, 200), content=event.data.encode(), request=response.request
        )
        if event.event in _LAST:
            last = said
        elif kind := PROGRESS_EVENTS.get(event.event):
            listener(result_of(said, kind))
    if last is None:
        raise ModelUnavailable(
            f"{worker_name(response.url)} broke off before it had answered. Try once more."
        )
    return last
