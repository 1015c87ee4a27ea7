"""A real server on loopback, in a thread of this process, over an engine of the test's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

from laser_tools.engine.base import Engine
from laser_tools.worker.backends.local import LocalBackend
from laser_tools.worker.http.app import create_app
from laser_tools.worker.http.protocol import Protocol
from laser_tools.worker.http.state import Worker
from tests.worker.harness import ALICE, ScriptedEngine, png, settings, sha256

PATIENCE_S = 30.0


@dataclass(frozen=True)
class Loopback:
    """Its URL, its parts, and a client with Alice's key."""

    url: str
    worker: Worker
    http: httpx.Client

    def upload(self) -> str:
        self.http.put(f"/v1/images/{sha256(png())}", content=png()).raise_for_status()
        return sha256(png())


@contextmanager
def loopback(engine: Engine, **changes: Any) -> Iterator[Loopback]:  # noqa: ANN401
    chosen = settings(**changes)
    app = create_app(LocalBackend(chosen, lambda: engine), chosen)
    config = uvicorn.Config(
        app, port=0, http=Protocol, loop="asyncio", log_config=None, ws="none"
    )  # as `laser-tools serve` runs it
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started and app.state.worker.health.ready)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        key = {"Authorization": f"Bearer {ALICE}"}
        with httpx.Client(base_url=url, headers=key, timeout=PATIENCE_S) as client:
            yield Loopback(url, app.state.worker, client)
    finally:
        if isinstance(engine, ScriptedEngine):
            engine.gate.set()
        server.should_exit = True
        thread.join()


def wait_until(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.002)
