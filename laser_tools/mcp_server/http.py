"""The server over HTTP, for this machine alone: loopback, one key, known hosts and origins."""

from __future__ import annotations

import hashlib
import hmac
import logging
import socket

import uvicorn
from mcp.server.lowlevel import Server
from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from laser_tools.errors import Misconfigured
from laser_tools.wire import ErrorBody, ErrorDetail

HOST = "127.0.0.1"
PATH = "/mcp"
MAX_BODY_BYTES = 4 * 2**20
MAX_SESSIONS = 64
MIN_KEY_CHARS = 16
_HOW = "Send one header 'Authorization: Bearer <key>' with the key in LASER_MCP_KEY."


class KeyRequired:
    """ASGI middleware: nobody without the key gets any further, whatever the path."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app = app
        self._digest = _digest(key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._knows(scope):
            await _refuse(send)
        elif scope["type"] != "websocket":
            await self.app(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, key = (given[0] if len(given) == 1 else b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(_digest(key), self._digest)


def checked_key(key: SecretStr | None) -> str:
    """The key that clients must show. Raises Misconfigured for none, or one that is too short."""
    text = key.get_secret_value() if key else ""
    if len(text) < MIN_KEY_CHARS:
        raise Misconfigured(
            f"LASER_MCP_KEY must hold a key of at least {MIN_KEY_CHARS} characters, which clients "
            "send as 'Authorization: Bearer <key>'."
        )
    return text


def guarded_app(server: Server[str], key: str) -> ASGIApp:
    """The server at PATH. As HOST is loopback, the SDK refuses foreign Host and Origin."""
    app = server.streamable_http_app(
        streamable_http_path=PATH, host=HOST, max_request_body_size=MAX_BODY_BYTES,
        max_sessions=MAX_SESSIONS,
    )  # fmt: skip
    return KeyRequired(app, key)


def listen(port: int) -> socket.socket:
    """A socket on loopback. Raises Misconfigured for a port that is taken."""
    try:
        return socket.create_server((HOST, port))
    except OSError:
        raise Misconfigured("The port is taken. Name another one with --port.") from None


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Serve until the process is told to end."""
    logging.getLogger("mcp").setLevel(logging.ERROR)  # its warnings quote callers' headers
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False,
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])


async def _refuse(send: Send) -> None:
    body = ErrorBody(error=ErrorDetail(code="unauthorized", message=_HOW)).model_dump_json()
    headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})


def _digest(given: bytes) -> bytes:
    """A digest of one length for all keys: comparing keys would tell how long ours is."""
    return hashlib.sha256(given).digest()
