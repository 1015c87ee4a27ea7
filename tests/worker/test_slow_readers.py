"""Callers who do not take their response: how long it is held for them, and for how many."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from urllib.parse import urlsplit

import pytest
from PIL import Image

from laser_tools.worker.http import protocol
from tests.worker.harness import ALICE, ScriptedEngine, sha256
from tests.worker.loopback import Loopback, loopback, wait_until

pytestmark = [pytest.mark.enable_socket, pytest.mark.allow_hosts(["127.0.0.1"])]
SIDE = 1400  # of noise, whose file is larger than what the system holds of a connection
TAKE_S = 1.0


@pytest.fixture(scope="module")
def worker() -> Iterator[Loopback]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(protocol, "TAKE_S", TAKE_S)
        with loopback(ScriptedEngine()) as running:
            yield running


@pytest.fixture(scope="module")
def noise(worker: Loopback) -> str:
    file = BytesIO()
    noise = Image.frombytes("RGB", (SIDE, SIDE), os.urandom(3 * SIDE**2))
    noise.save(file, "PNG", compress_level=0)
    name = sha256(file.getvalue())
    worker.http.put(f"/v1/images/{name}", content=file.getvalue()).raise_for_status()
    return name


@contextmanager
def download(worker: Loopback, image: str) -> Iterator[socket.socket]:
    """A connection on which the pixels come, whose first byte is there."""
    host = urlsplit(worker.url)
    lines = (f"GET /v1/images/{image} HTTP/1.1", "Host: worker", f"Authorization: Bearer {ALICE}")
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        caller.settimeout(10)
        caller.connect((str(host.hostname), int(host.port or 0)))
        caller.sendall("\r\n".join(lines).encode() + b"\r\nConnection: close\r\n\r\n")
        caller.recv(1, socket.MSG_PEEK)
        yield caller


def received(caller: socket.socket, pause_s: float = 0.0) -> tuple[int, int]:
    """Bytes of the body that came, and that were announced."""
    everything = bytearray()
    while part := _part(caller):
        everything += part
        time.sleep(pause_s)
    head, _, body = everything.partition(b"\r\n\r\n")
    announced = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert announced
    return len(body), int(announced[1])


def _part(caller: socket.socket) -> bytes:
    try:
        return caller.recv(2**18)
    except ConnectionResetError:
        return b""


def test_who_takes_nothing_holds_a_place_and_is_cut_off(worker: Loopback, noise: str) -> None:
    with download(worker, noise) as caller:
        assert worker.worker.gate.in_flight == 1
        wait_until(lambda: worker.worker.gate.in_flight == 0)
        came, announced = received(caller)
    assert came < announced


def test_who_reads_slowly_gets_everything(worker: Loopback, noise: str) -> None:
    begun_s = time.monotonic()
    with download(worker, noise) as caller:
        came, announced = received(caller, pause_s=0.03)
    assert time.monotonic() - begun_s > TAKE_S  # in all; no wait was as long
    assert came == announced
