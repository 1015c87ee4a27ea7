"""Worker processes on loopback, as an operator would start them, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

import httpx

from laser_tools.errors import ModelUnavailable
from tests.hardening.log import Log

SERVE = ("-m", "tests.hardening.exit_with_parent", "serve")
FAULTY = ("-m", "tests.hardening.faulty")
CANARY = "c4n4ry"
KEY = f"key-{CANARY}-0123456789"  # no log may hold it
METRICS_KEY = f"metrics-{KEY}"
HOST = "127.0.0.1"
START_S = 600.0  # loading a model takes as long as the machine is busy
END_S = 60.0
LOOK_S = 0.02


class WorkerProcess:
    """One process. Its log is read by a thread until it ends; it ends at the latest with ours.

    However ours ends, a signal included, the pipe to its standard input is closed: see
    exit_with_parent.py.
    """

    def __init__(self, command: Sequence[str], variables: dict[str, str], port: int = 0) -> None:
        self._since_s = time.monotonic()
        self.log = Log(CANARY)
        self.popen = subprocess.Popen(
            [sys.executable, *command],
            env={**_environment(), "LASER_PORT": str(port), **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # what Ray prints belongs to the log, too, not to our table
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until(lambda: self.log.lines > 0 or self.ended, START_S)
        started = self.log.of("start")
        if not started:
            raise ModelUnavailable(f"The worker did not start: {list(self.log.events)[:1]}")
        self.port = int(started[0]["port"])

    @property
    def ended(self) -> bool:
        return self.popen.poll() is not None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def ready(self, look_s: float = LOOK_S) -> float:
        """Wait until it takes work. Returns seconds since the start of the process."""
        with httpx.Client(
            base_url=self.url, headers=bearer(), trust_env=False, timeout=START_S
        ) as client:
            until(lambda: self.ended or client.get("/readyz").status_code == 200, START_S, look_s)
        if self.ended:
            raise ModelUnavailable(f"The worker ended at its start: {list(self.log.events)[-1:]}")
        return time.monotonic() - self._since_s

    def terminate(self) -> None:
        self.popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.popen.kill()

    def exit_code(self) -> int:
        """Wait for the end. A process that does not end by itself is killed: its code is -9."""
        try:
            code = self.popen.wait(END_S)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            code = self.popen.wait(END_S)
        self._reader.join(END_S)
        return code

    def close(self) -> None:
        if not self.ended:
            self.popen.kill()
        self.exit_code()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        for line in self.popen.stdout or ():
            self.log.read(line)


class Workers:
    """The processes of a run, all ended with it."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables
        self.started: list[WorkerProcess] = []

    def start(
        self, command: Sequence[str] = SERVE, port: int = 0, **variables: str
    ) -> WorkerProcess:
        """A new process, which may still be loading its model."""
        process = WorkerProcess(command, {**self._variables, **variables}, port)
        self.started.append(process)
        return process

    def close(self) -> None:
        for process in self.started:
            process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def until(true: Callable[[], bool], patience_s: float, look_s: float = LOOK_S) -> None:
    """Wait until a condition holds. Raises ModelUnavailable if it takes longer."""
    end_s = time.monotonic() + patience_s
    while not true():
        if time.monotonic() > end_s:
            raise ModelUnavailable(f"The worker took longer than {patience_s:g} s.")
        time.sleep(look_s)


def bearer(key: str = KEY) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _environment() -> dict[str, str]:
    """Our environment, without what would configure a worker or a client."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LASER_")}
    return {**kept, "LASER_API_KEYS": KEY, "LASER_METRICS_KEY": METRICS_KEY}
