"""However the bench ends, its workers end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.processes import alive

BENCH = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from tests.hardening.process import Workers
with Workers({}) as workers:
    print(workers.start().popen.pid, flush=True)
    time.sleep(600)
"""
PATIENCE_S = 60.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_bench(number: signal.Signals) -> None:
    bench = subprocess.Popen(
        [sys.executable, "-c", BENCH],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert bench.stdout is not None
    worker = int(bench.stdout.readline())
    try:
        assert alive(worker)
        bench.send_signal(number)
        assert bench.wait(PATIENCE_S) != 0
        end_s = time.monotonic() + PATIENCE_S
        while alive(worker):
            assert time.monotonic() < end_s, "left behind"
            time.sleep(0.02)
    finally:
        bench.kill()
        bench.communicate()
        if alive(worker):
            os.kill(worker, signal.SIGKILL)
