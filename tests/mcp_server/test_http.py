"""The HTTP door, knocked at by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("mcp", reason="needs the extra 'mcp'")

from mcp_types import UNSUPPORTED_PROTOCOL_VERSION
from pydantic import SecretStr

from laser_tools.errors import Misconfigured
from laser_tools.mcp_server import http
from tests.mcp_server.doors import KEY, LOOPBACK, add, ask, over_http, read, served
from tests.mcp_server.engine import server

pytestmark = LOOPBACK
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "tests", "version": "0"},
    },
}
HEADERS = {
    "Authorization": f"Bearer {KEY}",
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(server(None)) as address:
        yield address


def knock(url: str, *, body: object = HELLO, **headers: str) -> httpx.Response:
    sent = {**HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.post(url, content=json.dumps(body), headers=sent, timeout=60)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_a_good_request_gets_a_session(url: str, scheme: str) -> None:
    """Else the refusals below would prove nothing."""
    response = knock(url, Origin="http://127.0.0.1:7777", Authorization=f"{scheme} {KEY}")
    assert response.status_code == 200
    assert response.headers["mcp-session-id"]


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1", "null", "file://"])
def test_foreign_origins_are_refused(url: str, origin: str) -> None:
    assert knock(url, Origin=origin).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example:1"])
def test_foreign_hosts_are_refused(url: str, host: str) -> None:
    """A page whose name was made to point here (DNS rebinding) still sends its own name."""
    assert knock(url, Host=host).status_code == 421


@pytest.mark.parametrize(
    "given",
    [
        "",
        KEY,
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY}x",
        f"bearer  {KEY}",
        "Basic eDp5",
        f"Basic {KEY}",
    ],
)
@pytest.mark.parametrize("path", ["", "/nothing", "/../metrics"])
def test_a_wrong_key_opens_nothing(url: str, given: str, path: str) -> None:
    response = knock(url + path, Authorization=given)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert KEY not in response.text


def test_two_keys_are_none(url: str) -> None:
    twice = [*HEADERS.items(), ("Authorization", "Bearer x")]
    assert httpx.post(url, json=HELLO, headers=twice).status_code == 401


def test_a_body_of_ten_mebibytes(url: str) -> None:
    assert knock(url, body=[HELLO, "A" * 10 * 2**20]).status_code == 413
    chunks = (b"A" * 2**20 for _ in range(10))  # without a length
    assert httpx.post(url, content=chunks, headers=HEADERS).status_code == 413


def test_a_session_is_named_by_the_server(url: str) -> None:
    assert knock(url, mcp_session_id="0" * 32).status_code == 404


def test_the_protocol_without_sessions_is_refused_with_a_way_out(url: str) -> None:
    """Also with another client's session in a header, which nothing would have checked."""
    session = knock(url).headers["mcp-session-id"]
    version = {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
               "io.modelcontextprotocol/clientCapabilities": {}}  # fmt: skip
    body = {"jsonrpc": "2.0", "id": 1, "method": "resources/list", "params": {"_meta": version}}
    response = knock(url, body=body, mcp_protocol_version="2026-07-28", mcp_session_id=session,
                     mcp_method="resources/list")  # fmt: skip
    error = response.json()["error"]
    assert error["code"] == UNSUPPORTED_PROTOCOL_VERSION, error
    assert "2025-11-25" in error["data"]["supported"]


async def test_a_client_of_the_newest_protocol_goes_on_with_a_session(url: str) -> None:
    async with over_http(url) as client:
        assert client.protocol_version == "2025-11-25"
        await add(client)
        assert read(await ask(client))["answer"] == "red"


async def test_an_ended_session_is_unknown(url: str, tmp_path: Path) -> None:
    session = knock(url).headers["mcp-session-id"]
    headers = {**HEADERS, "mcp-session-id": session, "mcp-protocol-version": "2025-11-25"}
    assert httpx.delete(url, headers=headers).status_code == 200
    assert knock(url, mcp_session_id=session).status_code == 404


@pytest.mark.parametrize("key", [None, "", "short"])
def test_no_key_or_a_short_one_does_not_start(key: str | None) -> None:
    with pytest.raises(Misconfigured, match="LASER_MCP_KEY"):
        http.checked_key(None if key is None else SecretStr(key))


def test_a_port_that_is_taken_is_named() -> None:
    with http.listen(0) as taken, pytest.raises(Misconfigured, match="--port"):
        http.listen(taken.getsockname()[1])
