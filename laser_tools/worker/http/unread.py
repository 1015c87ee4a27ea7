"""The body of a request on its way in, and what becomes of the rest of it after a refusal."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive

DISCARD_S = 2.0  # for the rest of a body that nobody wants


class Unread:
    """Remembers whether more of the body may come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._more = True

    async def receive(self) -> Message:
        message = await self._receive()
        self._more = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Take the rest from the socket: closing it with bytes unread is a reset, which may
        overtake the response that has just been written."""
        try:
            async with asyncio.timeout(DISCARD_S):
                while self._more:
                    await self.receive()
        except TimeoutError:
            pass
