"""The load generator against a real server on loopback."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from tests.hardening.caller import BROKEN, REFUSED
from tests.hardening.generator import Generator
from tests.hardening.pictures import distinct

pytestmark = pytest.mark.enable_socket

ASKED = distinct(1, seed=0)[0]
KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CLOSED = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"


async def served(replies: list[bytes]) -> tuple[list[int], int, list[bytes]]:
    """The statuses of as many questions, one after the other; connections made; bodies received."""
    left, connections, bodies = list(replies), 0, list[bytes]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while left:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
            bodies.append(await reader.readexactly(length))
            reply = left.pop(0)
            writer.write(reply)
            if reply != KEPT:
                break
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        worker: Any = SimpleNamespace(port=server.sockets[0].getsockname()[1])
        async with Generator(worker) as caller:
            statuses = []
            for _ in replies:
                statuses.append((await caller.ask(ASKED)).status)
                await asyncio.sleep(0.01)  # for what the server closes to be seen
    return statuses, connections, bodies


async def test_connections_are_kept_until_the_worker_closes_them() -> None:
    statuses, connections, bodies = await served([KEPT, KEPT, CLOSED, KEPT, KEPT])
    assert statuses == [200, 200, 503, 200, 200]
    assert connections == 2
    assert all(ASKED.sha256.encode() in body for body in bodies)


async def test_a_connection_that_breaks_counts_as_broken() -> None:
    assert (await served([HALF, b"", KEPT]))[0] == [BROKEN, BROKEN, 200]


async def test_a_worker_that_does_not_listen_counts_as_refused() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    worker: Any = SimpleNamespace(port=server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()
    assert (await Generator(worker).ask(ASKED)).status == REFUSED
