"""uvicorn's HTTP/1.1 protocol, with limits on heads and on responses that nobody takes."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEAD_BYTES = 16 * 2**10  # request line and headers
TAKE_S = 30.0  # for what the system could not take off our hands when it was written


class BoundedHeads(h11.Connection):
    """The server's side of a connection, with a limit on every head.

    h11 limits a head that is not complete yet: one that arrives in one piece never is that.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next event. Raises RemoteProtocolError for a head that is too long."""
        awaited = self.their_state is h11.IDLE
        before = self._n_unread() if awaited else 0
        event = super().next_event()
        if awaited and before - self._n_unread() > MAX_HEAD_BYTES:
            raise h11.RemoteProtocolError("The head is too long.", error_status_hint=431)
        return event

    def _n_unread(self) -> int:
        return len(self.trailing_data[0])


class Protocol(H11Protocol):
    """uvicorn's protocol with bounded heads, for `uvicorn.Config(http=...)`.

    A caller who takes nothing of what was written for `TAKE_S` is cut off: closing the connection
    would wait, and hold the rest of the response, for as long as the caller likes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (uvicorn's own)
        super().__init__(*args, **kwargs)
        self.conn = BoundedHeads()
        self._cut_off: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # a pause as soon as anything is left over

    def pause_writing(self) -> None:
        super().pause_writing()
        self._cut_off = self.loop.call_later(TAKE_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_pause()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end_pause()

    def _end_pause(self) -> None:
        if self._cut_off is not None:
            self._cut_off.cancel()
