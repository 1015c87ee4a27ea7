"""Progress for who streams the LangGraph graph that runs a tool, with `stream_mode="custom"`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from laser_tools.progress import Event, Listener

Write = Callable[[dict[str, Any]], None]


def stream_writer() -> Write | None:
    """A writer into the stream of the graph that runs this call, for any thread."""
    langgraph = sys.modules.get("langgraph.config")  # a graph that runs us has imported it
    if langgraph is None:
        return None
    try:
        write = langgraph.get_stream_writer()
    except (RuntimeError, KeyError):  # no runnable calls us, or one that is in no graph
        return None
    context = copy_context()  # in which the writer looks for its graph

    def write_there(data: dict[str, Any]) -> None:
        with suppress(RuntimeError):  # the graph's event loop is closed: nobody reads any more
            context.run(write, data)

    return write_there


def graph_listener(**about: str) -> Listener | None:
    """A listener that writes events into the graph's stream, each with what it is `about`."""
    write = stream_writer()
    if write is None:
        return None

    def listen(event: Event) -> None:
        write({**about, **event.model_dump()})

    return listen
