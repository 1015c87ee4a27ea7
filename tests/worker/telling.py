"""An engine that tells what it will answer before it does, and streams of a worker over it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from httpx_sse import EventSource, ServerSentEvent

from laser_tools.engine.base import Request, Result, listener_of
from laser_tools.progress import Event, StageEvent, TokenEvent
from laser_tools.schema import AnswerRequest
from laser_tools.stop import ShouldStop, never
from tests.gated import asked
from tests.worker.harness import ScriptedEngine

FLOOD = 20_000  # events: more than sockets hold, and a hundred times what a model tells


class TellingEngine(ScriptedEngine):
    """Of "told slow" it tells its events at once, then acts as for "slow"; "flood" is told a lot.

    What it tells is the question, so that events of one caller are known from another's.
    """

    def serve(self, requests: Sequence[Request], should_stop: ShouldStop = never) -> list[Result]:
        return super().serve([_told(request) for request in requests], should_stop)


def _told(request: Request) -> Request:
    listener, words = listener_of(request), asked(request)
    if not isinstance(request, AnswerRequest) or not words.startswith(("told", "flood")):
        return request
    if listener is not None:
        for event in events_of(words):
            listener(event)
    return request.model_copy(update={"question": words.removeprefix("told ")})


def events_of(words: str) -> list[Event]:
    """What the engine tells of a question."""
    if words == "flood":
        return [TokenEvent(token="x", start=n) for n in range(FLOOD)]
    return [StageEvent(stage="decode"), TokenEvent(token=words, start=0)]


@contextmanager
def streamed(
    client: httpx.Client, image: str, question: str, **headers: str
) -> Iterator[httpx.Response]:
    """A response that is still coming in."""
    with client.stream(
        "POST",
        "/v1/answer",
        json={"image": image, "question": question},
        headers={"Accept": "text/event-stream", **headers},
    ) as response:
        yield response


def events(response: httpx.Response) -> list[tuple[str, Any]]:
    """The rest of a stream: names, and what their JSON says."""
    return [(event.event, json.loads(event.data)) for event in sse(response)]


def sse(response: httpx.Response) -> Iterator[ServerSentEvent]:
    return EventSource(response).iter_sse()
