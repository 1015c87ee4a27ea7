"""One server behind four doors: in memory (both eras of the protocol), over stdio, over HTTP."""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
import uvicorn
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server
from mcp_types import CallToolResult, TextContent

from laser_tools.mcp_server import http
from tests.mcp_server.engine import server
from tests.tools.fakes import scene

ROOT = Path(__file__).parents[2]
KEY = "a key of the tests, not short"
LOOPBACK = [pytest.mark.enable_socket, pytest.mark.allow_hosts(["127.0.0.1"])]

Door = Literal["memory", "memory-handshake", "stdio", "http"]
Opens = Callable[[], AbstractAsyncContextManager[Client]]

MEMORY = ("memory", "memory-handshake")
HTTP = pytest.param("http", marks=LOOPBACK)
ALL = [*MEMORY, "stdio", HTTP]


@contextmanager
def opened(door: Door, root: Path | None = None) -> Iterator[Opens]:
    """A function that connects one more client to the server, over stdio to one of its own."""
    if door == "stdio":
        arguments = ["-m", "tests.mcp_server.over_stdio", *([str(root)] if root else [])]
        started = StdioServerParameters(command=sys.executable, args=arguments, cwd=ROOT)
        yield lambda: Client(started)
    elif door == "http":
        with served(server(root)) as url:
            yield lambda: over_http(url)
    else:
        shared = server(root)
        yield lambda: Client(shared, mode="auto" if door == "memory" else "legacy")


@contextmanager
def served(what: Server[str]) -> Iterator[str]:
    """The address of a server in a thread of this process."""
    with http.listen(0) as listening:
        running = uvicorn.Server(uvicorn.Config(http.guarded_app(what, KEY), log_level="warning"))
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        try:
            yield f"http://{http.HOST}:{listening.getsockname()[1]}{http.PATH}"
        finally:
            running.should_exit = True
            thread.join()


@asynccontextmanager
async def over_http(url: str, key: str = KEY, mode: str = "auto") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as sender,
        Client(streamable_http_client(url, http_client=sender), mode=mode) as client,
    ):
        yield client


async def add(client: Client, colour: str = "red") -> CallToolResult:
    data = base64.b64encode(scene(colour=colour)).decode()
    return await client.call_tool("add_image", {"data": data})


async def ask(client: Client, image: str = "img_1", question: str = "Colour?") -> CallToolResult:
    return await client.call_tool("grounded_vqa", {"image": image, "question": question})


def read(result: CallToolResult) -> dict[str, Any]:
    """The structured content, which the text repeats."""
    assert not result.is_error, result
    assert isinstance(result.content[0], TextContent)
    assert json.loads(result.content[0].text) == result.structured_content
    fields: dict[str, Any] = result.structured_content
    return fields


def refusal(result: CallToolResult) -> str:
    assert result.is_error
    (told,) = result.content
    assert isinstance(told, TextContent)
    return str(told.text)
