"""The public surface: at most ten names, and naming them costs no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import laser_tools

ROOT = Path(__file__).parents[1]
TORCH_FREE = (
    "laser_tools",
    "laser_tools.schema",
    "laser_tools.images",
    "laser_tools.options",
    "laser_tools.tools",
    "laser_tools.tools.middleware",
    "laser_tools.engine.queued",
    "laser_tools.client",
    "laser_tools.wire",
    "laser_tools.worker.backends.local",
    "laser_tools.worker.run",
    "laser_tools.tools.careful",
    "laser_tools.tools.archive",
)
HEAVY = ("torch", "transformers", "numpy", "matplotlib", "sklearn")


def test_at_most_ten_public_names() -> None:
    assert len(laser_tools.__all__) <= 10
    public = {name for name in dir(laser_tools) if not name.startswith("_")}
    modules = {name for name in public if f"laser_tools.{name}" in sys.modules}
    assert public - modules - {"annotations", "importlib", "TYPE_CHECKING"} == set(
        laser_tools.__all__,
    )


@pytest.mark.parametrize("name", laser_tools.__all__)
def test_each_public_name_is_there(name: str) -> None:
    assert getattr(laser_tools, name).__name__ == name


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = laser_tools.Nothing


@pytest.mark.parametrize("module", TORCH_FREE)
def test_importing_costs_no_torch(module: str) -> None:
    """Asked in a fresh interpreter: an earlier import would hide a new one."""
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_building_the_toolkit_costs_no_torch() -> None:
    code = (
        "import sys; from laser_tools import LaserToolkit; LaserToolkit().get_tools();"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_name_agents_is_left_to_the_openai_agents_sdk(tmp_path: Path) -> None:
    """It is left even where the repository's root, with a folder of that name, comes first."""
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("class Agent: ...\n")
    paths = os.pathsep.join([str(ROOT), str(tmp_path)])
    run = [sys.executable, "-c", "from agents import Agent"]
    subprocess.run(run, cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": paths})
