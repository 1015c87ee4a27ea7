"""A contract worker over the fake engine, and a client of it; no sockets."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from laser_tools.client import WorkerClient, deadline_transport
from tests.client.contract_app import ContractWorker
from tests.tools.fakes import ColourEngine

KEY = "canary-key-7f3a"
URL = "https://worker.example"


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline_transport, "BACKOFF_S", 0.01)


@pytest.fixture
def worker(engine: ColourEngine) -> ContractWorker:
    return ContractWorker(engine, api_key=KEY)


@pytest.fixture
def client(worker: ContractWorker) -> Iterator[WorkerClient]:
    with client_of(worker) as client:
        yield client


def client_of(worker: ContractWorker, key: str | None = KEY) -> WorkerClient:
    transport = httpx.ASGITransport(worker.app)
    return WorkerClient(URL, key, timeout_s=10, transport=transport)
