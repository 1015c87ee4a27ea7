"""Real processes, real sockets on loopback: start, answer, drain, fault, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.worker.harness import ALICE, CANARY, png, sha256

pytestmark = [pytest.mark.enable_socket, pytest.mark.allow_hosts(["127.0.0.1"])]
SCRIPTED = ("-m", "tests.worker.scripted_worker")
PICO = ("-c", "import sys; from laser_tools import cli; sys.exit(cli.run(['serve']))")
PATIENCE_S = 60
ROOT = Path(__file__).parents[2]
NAME = sha256(png())


class Process:
    """A worker process; its log is collected while it runs."""

    def __init__(self, command: Sequence[str], variables: dict[str, str]) -> None:
        environment = {**os.environ, "LASER_API_KEYS": ALICE, "LASER_PORT": "0", **variables}
        self.popen = subprocess.Popen(
            [sys.executable, *command], env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []  # JSON
        self.sentences: list[str] = []  # for people
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self._port()}",
            headers={"Authorization": f"Bearer {ALICE}"},
            timeout=PATIENCE_S,
        )

    def ready(self) -> None:
        until(lambda: self.client.get("/readyz").status_code == 200)

    def upload(self, data: bytes) -> str:
        reply = self.client.put(f"/v1/images/{sha256(data)}", content=data)
        assert reply.status_code == 201, reply.text
        return sha256(data)

    def ask(self, name: str, question: str) -> httpx.Response:
        return self.client.post("/v1/answer", json={"image": name, "question": question})

    def exit_code(self) -> int:
        code = self.popen.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def events(self, kind: str) -> list[dict[str, object]]:
        parsed = [json.loads(line) for line in self.lines]
        return [line for line in parsed if line["event"] == kind]

    def close(self) -> None:
        self.client.close()
        if self.popen.poll() is None:
            self.popen.kill()
        self.exit_code()
        assert self.popen.stderr is not None
        self.popen.stderr.close()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            (self.lines if line.startswith("{") else self.sentences).append(line)

    def _port(self) -> int:
        until(lambda: bool(self.lines))
        port = json.loads(self.lines[0])["port"]
        assert isinstance(port, int)
        return port


def until(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.02)


@contextmanager
def process(*command: str, **variables: str) -> Iterator[Process]:
    worker = Process(command, variables)
    try:
        yield worker
    finally:
        worker.close()


@contextmanager
def in_flight(worker: Process, question: str) -> Iterator[Future[httpx.Response]]:
    """A question that the model works on."""
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(worker.ask, NAME, question)
        until(lambda: "laser_batch_in_flight 1.0" in worker.client.get("/metrics").text)
        yield asked


def test_the_packaged_model_over_a_socket() -> None:
    """Start, ready, upload, ask, SIGTERM, exit 0; the log is JSON and says what was done."""
    with process(*PICO) as w:
        assert w.client.get("/livez").status_code == 200
        w.ready()
        name = w.upload(png(size=(300, 260)))
        reply = w.ask(name, "What colour is the square?")
        assert reply.status_code == 200, reply.text
        assert reply.json()["model"] == "pico"
        assert reply.json()["image_size"] == [300, 260]
        assert "server" not in reply.headers
        w.popen.send_signal(signal.SIGTERM)
        assert w.exit_code() == 0
        assert [line["event"] for line in w.events("ready")] == ["ready"]
        assert w.events("start")[0]["settings"]["n_api_keys"] == 1  # type: ignore[index]
        assert ALICE not in "".join(w.lines)
        assert w.sentences == []


def test_sigterm_loses_nothing() -> None:
    """In flight: answered. New: 503 on the open connection. Then exit 0."""
    with process(*SCRIPTED, LASER_DRAIN_S="10") as worker:
        worker.ready()
        worker.upload(png())
        with in_flight(worker, "a while") as asked:
            worker.popen.send_signal(signal.SIGTERM)
            until(lambda: worker.client.get("/readyz").status_code == 503)
            late = worker.ask(NAME, "late")
            assert (late.status_code, late.json()["error"]["code"]) == (503, "draining")
            assert late.headers["retry-after"]
            assert worker.client.get("/livez").status_code == 200
            assert asked.result(PATIENCE_S).json()["answer"] == "a while"
        assert worker.exit_code() == 0


def test_a_drain_has_an_end() -> None:
    with process(*SCRIPTED, LASER_DRAIN_S="0.3") as worker:
        worker.ready()
        worker.upload(png())
        with in_flight(worker, "slow") as asked:
            worker.popen.send_signal(signal.SIGTERM)
            assert worker.exit_code() == 0
            assert asked.exception(PATIENCE_S) or asked.result().status_code >= 499
        assert worker.events("drain_timeout")


def test_a_device_fault_ends_the_process() -> None:
    with process(*SCRIPTED) as worker:
        worker.ready()
        worker.upload(png())
        reply = worker.ask(NAME, "cuda")
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_unavailable")
        assert worker.exit_code() == 1
        assert worker.events("fault")[0]["reason"] == "device_fault"
        assert CANARY not in "".join(worker.lines)


def test_a_wedged_model_ends_the_process() -> None:
    with process(*SCRIPTED, LASER_HEARTBEAT_S="0.5") as worker:
        worker.ready()
        worker.upload(png())
        reply = worker.ask(NAME, "wedge")
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_unavailable")
        assert worker.exit_code() == 1
        assert worker.events("fault")[0]["reason"] == "wedged"


def test_a_model_that_cannot_be_loaded_ends_the_process() -> None:
    """Exit 2 and a sentence, also non-zero: the operator has to mend it."""
    with process(*SCRIPTED, SCRIPTED_LOAD="fails") as worker:
        assert worker.exit_code() == 2
        assert worker.events("fault")[0]["reason"] == "model_unavailable"
        assert worker.sentences == ["laser-tools: There is no such model.\n"]
