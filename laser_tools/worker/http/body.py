"""The body of a request, within its limits, and the caller's hanging up while it is served."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from laser_tools.errors import Cancelled, InvalidRequest
from laser_tools.worker.http.record import header, record_of
from laser_tools.worker.http.refusals import BodyTimeout, BodyTooLarge, UnsupportedMedia
from laser_tools.worker.settings import WorkerSettings

MAX_JSON_BYTES = 64 * 2**10  # 2000 characters of question, 20 choices, all escaped, and some


class Bodies:
    """ASGI middleware: reads the whole body, then runs the app until it ends or nobody waits."""

    def __init__(self, app: ASGIApp, settings: WorkerSettings) -> None:
        self.app = app
        self._image_bytes = settings.image_limits.max_bytes
        self._timeout_s = settings.body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = await self._body(scope, receive)
        record_of(scope).bytes_in = len(body)
        await _attended(self.app, scope, body, receive, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        limit = self._image_bytes if scope["method"] == "PUT" else MAX_JSON_BYTES
        _check_type(scope)
        announced = _announced(scope)
        if announced is not None and announced > limit:
            raise BodyTooLarge(limit)
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await _read(receive, limit)
        except TimeoutError:
            raise BodyTimeout(self._timeout_s) from None
        if announced is not None and announced != len(body):
            raise InvalidRequest("The body must be as long as its Content-Length says.")
        return body


def _check_type(scope: Scope) -> None:
    if header(scope, "content-encoding").lower() not in ("", "identity"):
        raise UnsupportedMedia("Send the body as it is, without a Content-Encoding.")
    kind = header(scope, "content-type").partition(";")[0].strip().lower()
    if scope["method"] == "POST" and kind != "application/json":
        raise UnsupportedMedia("Send JSON, with 'Content-Type: application/json'.")


def _announced(scope: Scope) -> int | None:
    text = header(scope, "content-length")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise InvalidRequest("The Content-Length must be a number of bytes.")
    return int(text)


async def _read(receive: Receive, limit: int) -> bytes:
    """The body, of which at most one chunk more than `limit` is ever held."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Cancelled
        body += message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLarge(limit)
        if not message.get("more_body", False):
            return bytes(body)


async def _attended(app: ASGIApp, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
    """Run the app over a body that has been read. Raises Cancelled when the caller is gone."""
    work = asyncio.ensure_future(app(scope, _replay(body), send))
    gone = asyncio.ensure_future(_hung_up(receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Cancelled
        await work
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


def _replay(body: bytes) -> Receive:
    """A `receive` that gives the body once; afterwards there is nothing more to come."""
    left = [body]

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left.pop(), "more_body": False}

    return receive


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
