"""uvicorn's server, ended so that nobody who was let in finds a broken connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from time import monotonic
from types import FrameType
from typing import Any

import uvicorn

from laser_tools.worker.record import log_event
from laser_tools.worker.worker import Worker

LOOK_S = 0.05
LINGER_S = 0.3  # unready, and still listening: late requests get a 503 and not a closed port
QUIET_S = 5.0  # most clients do not use a connection again that has been idle for so long


class Server(uvicorn.Server):
    """Ends when the worker has drained. (uvicorn itself would close the port first.)

    While it drains each response says that its connection will be closed (journal.py).
    """

    def __init__(self, config: uvicorn.Config, worker: Worker) -> None:
        super().__init__(config)
        self._worker = worker
        self._quiet_s = 0.0  # when idle connections have been idle for long enough

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends. The exit code is ours, not the signal's."""
        if self._worker.health.draining:
            self.should_exit = self.force_exit = True
        self._worker.health.draining = True

    async def run_until_drained(self, listening: socket.socket) -> None:
        ending = asyncio.create_task(self._end())
        try:
            await self.serve(sockets=[listening])
        finally:
            ending.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port, answer everyone who came before, let go of who stays silent."""
        late = self._last_accepted(sockets or [])
        log_event("close", connections=len(self.server_state.connections), late=len(late))
        for connection in late:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        await self._until_quiet()
        await super().shutdown(sockets)

    async def _end(self) -> None:
        """Wait for the reason to end, then for what is in flight."""
        health, gate, drain_s = (
            self._worker.health,
            self._worker.gate,
            self._worker.settings.drain_s,
        )
        while not (health.draining or health.fault()):
            await asyncio.sleep(LOOK_S)
        self._quiet_s = monotonic() + min(QUIET_S, drain_s)
        log_event("drain", in_flight=gate.in_flight, fault=health.fault())
        await asyncio.sleep(LINGER_S)
        try:
            async with asyncio.timeout(drain_s):
                while gate.in_flight and not health.fault():
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            log_event("drain_timeout", in_flight=gate.in_flight)
        self.should_exit = True

    def _last_accepted(self, sockets: Sequence[socket.socket]) -> list[socket.socket]:
        """Whom the kernel has let in by the time the port is closed: it would reset them."""
        late = []
        for listening in sockets:
            while connection := _accepted(listening):
                late.append(connection)
            for server in self.servers:  # nothing between the last `accept` and this
                server.close()
            listening.close()
        return late

    async def _until_quiet(self) -> None:
        """Until all connections are closed, or those that are left have been silent for long."""
        end_s = max(self._quiet_s, monotonic() + LINGER_S)
        while self.server_state.connections and monotonic() < end_s and not self.force_exit:
            await asyncio.sleep(LOOK_S)

    def _protocol(self) -> asyncio.Protocol:
        """As uvicorn makes one for each connection that it accepts itself."""
        protocol: Any = self.config.http_protocol_class
        made: asyncio.Protocol = protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


def _accepted(listening: socket.socket) -> socket.socket | None:
    """The next connection in the backlog; `listening` does not block, as asyncio has it."""
    try:
        return listening.accept()[0]
    except OSError:
        return None
