"""Worker processes to talk to and to send signals to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.worker.harness import ALICE, OPERATOR, sha256

SCRIPTED = ("-m", "tests.worker.scripted_worker")
PICO = ("-c", "import sys; from laser_tools import cli; sys.exit(cli.run(['serve']))")
PATIENCE_S = 60
ROOT = Path(__file__).parents[2]


class Process:
    """A worker process; its log is collected while it runs."""

    def __init__(self, command: Sequence[str], variables: dict[str, str]) -> None:
        keys = {"LASER_API_KEYS": ALICE, "LASER_METRICS_KEY": OPERATOR}
        environment = {**os.environ, **keys, "LASER_PORT": "0", **variables}
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

    def metrics(self) -> str:
        headers = {"Authorization": f"Bearer {OPERATOR}"}
        return self.client.get("/metrics", headers=headers).text

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
