"""A torchvision made for another torch, as pip leaves one that comes from another index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.toys import picture

ROOT = Path(__file__).parents[2]
COMMANDS = (["ask", "scene.png", "what?"], ["doctor"])
RUN = f"from laser_tools import cli; print([cli.run(command) for command in {COMMANDS}])"
BREAKS = "raise RuntimeError('operator torchvision::nms does not exist')"  # as the real one does


def install_misfit(folder: Path) -> None:
    """A torchvision that breaks when it is imported, and that looks installed."""
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(BREAKS, encoding="utf-8")
    about = folder / "torchvision-0.28.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")


def test_it_is_named_by_every_command_that_runs_a_model(tmp_path: Path) -> None:
    install_misfit(tmp_path)
    picture().pixels.save(tmp_path / "scene.png")
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout.splitlines() == ["[2, 2]"]
    sentences = done.stderr.splitlines()
    assert len(sentences) == len(COMMANDS)
    for sentence in sentences:
        assert sentence.startswith("laser-tools: The installed torchvision does not fit")
        assert "pip uninstall torchvision" in sentence
