"""`laser-tools serve --ray` as a process: start, answer, drain, exit code, nothing left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("ray.serve")
from tests.worker.harness import ALICE, png
from tests.worker.test_ray import ROOT, Cluster, until

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.timeout(300),  # 15 s where nothing else runs
]


def test_sigterm_loses_nothing_and_leaves_nothing() -> None:
    """What is in flight is answered; then exit 0, and the replica is gone."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.worker.ray_worker", "--replicas", "1", "--port", "0"],
        cwd=ROOT, env={**os.environ, "LASER_API_KEYS": ALICE}, text=True,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        cluster = Cluster(json.loads(process.stderr.readline())["port"])
        until(lambda: process.poll() is not None or cluster.ready())
        assert process.poll() is None, process.stderr.read()
        with ThreadPoolExecutor(1) as threads:
            replica = cluster.pid(png())
            asked = threads.submit(cluster.ask, png(), "long")
            time.sleep(1.0)
            process.send_signal(signal.SIGTERM)
            assert asked.result().json()["answer"] == str(replica)
        log = process.stderr.read()
        assert process.wait(60) == 0, log
        assert all(line.startswith("{") for line in log.splitlines()), log
        until(lambda: not alive(replica))
        cluster.client.close()
    finally:
        process.kill()
        process.communicate()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
