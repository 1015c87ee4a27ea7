"""The outermost middleware: every request gets an id, an answer, one log line and its counts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from laser_tools.errors import LaserError
from laser_tools.wire import ERROR_EVENT, REQUEST_ID_HEADER
from laser_tools.worker.http.event_stream import encoded
from laser_tools.worker.http.health import Health
from laser_tools.worker.http.metrics import Metrics
from laser_tools.worker.http.record import Record, begin, header, logger, record_of
from laser_tools.worker.http.refusals import Draining, Internal, body_of, headers_of
from laser_tools.worker.http.unread import Unread

PIECE_BYTES = 2**16  # of a body: what is written is copied


@dataclass
class Journal:
    """ASGI middleware. What is raised inside of it becomes an `ErrorBody`, and goes no further."""

    app: ASGIApp
    metrics: Metrics
    health: Health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = begin(scope)
        noting, unread = self._noting(record, send), Unread(receive)
        try:
            await self.app(scope, unread.receive, noting)
        except LaserError as error:
            await self._refuse(scope, error, unread, noting)
        except asyncio.CancelledError:  # the server ends, and waits for nobody any longer
            await self._refuse(scope, Draining(), unread, noting)
            raise
        except Exception as error:
            record.error = type(error).__name__  # its text may hold anything
            await self._refuse(scope, Internal(), unread, noting)
        finally:
            self.metrics.observe(record)
            logger.info(record.line())

    def _noting(self, record: Record, send: Send) -> Send:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                self._add_headers(record, MutableHeaders(scope=message))
            for piece in _pieces(message):
                await send(piece)
                record.bytes_out += len(piece.get("body", b""))

        return noting

    def _add_headers(self, record: Record, headers: MutableHeaders) -> None:
        headers[REQUEST_ID_HEADER] = record.id
        headers["Cache-Control"] = "no-store"
        headers["X-Content-Type-Options"] = "nosniff"
        if self._is_ending():
            headers["Connection"] = "close"  # the next request goes to another worker

    def _is_ending(self) -> bool:
        return self.health.draining or self.health.fault() is not None

    async def _refuse(self, scope: Scope, error: LaserError, unread: Unread, send: Send) -> None:
        record = record_of(scope)
        record.code = error.code
        body = body_of(error)
        if record.streaming:
            event = encoded(ERROR_EVENT, body.decode())
            await send({"type": "http.response.body", "body": event})
        if record.status:  # too late: the caller has the beginning of another response
            return
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **headers_of(error),
        }
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": error.http_status, "headers": raw})
        shown = b"" if record.method == "HEAD" else body
        last = self._is_ending() or _wants_it_closed(scope)
        await send({"type": "http.response.body", "body": shown, "more_body": last})
        if last:
            await unread.discard()
            await send({"type": "http.response.body", "body": b""})


def _pieces(message: Message) -> Iterator[Message]:
    """The message, a long body in pieces, each of which waits until the last one was taken.

    So a request is in flight, and counts for its key, until its response has been taken.
    """
    body = message.get("body", b"")
    last = max(len(body) - 1, 0) // PIECE_BYTES * PIECE_BYTES
    for start in range(0, last, PIECE_BYTES):
        yield {**message, "body": body[start : start + PIECE_BYTES], "more_body": True}
    yield {**message, "body": body[last:]} if last else message


def _wants_it_closed(scope: Scope) -> bool:
    """True if the caller's connection ends with this request, as is common with proxies."""
    return scope["http_version"] == "1.0" or header(scope, "connection").lower() == "close"
