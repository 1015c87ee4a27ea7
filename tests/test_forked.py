"""After `os.fork()` an engine says that it cannot go on; before, it hung for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from laser_tools.errors import ModelUnavailable
from laser_tools.vlm import forked

ROOT = Path(__file__).parents[1]


def test_no_child_hangs() -> None:
    """A model that had not run before the fork works; one that had, on two threads, says no."""
    quick = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}  # spinning takes 6 s of CPU
    run = subprocess.run(
        [sys.executable, "-m", "tests.forked_engine"],
        cwd=ROOT,
        env={**os.environ, **quick},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert run.returncode == 0, run.stderr
    before, *children = run.stdout.split(", ")[:3]
    assert (before, children) == ("an answer", ["ModelUnavailable"] * 2)
    assert run.stdout.split(", ")[3:] == ["an answer"] * 3, "the parent, before and afterwards"


@pytest.mark.parametrize(
    ("device", "n_threads", "refused"), [("cpu", 1, False), ("cpu", 2, True), ("cuda", 1, True)]
)
def test_where_a_fork_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, device: str, n_threads: int, refused: bool
) -> None:
    monkeypatch.setattr(forked, "_computed_in", [os.getppid()])
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    with pytest.raises(ModelUnavailable, match=r"os\.fork") if refused else nullcontext():
        forked.check_process(torch.device(device))
