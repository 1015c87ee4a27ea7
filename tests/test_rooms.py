"""The house keeps its plan: an empty hall, rooms that import downwards only, no circles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import laser_tools

ROOT = Path(laser_tools.__file__).parent
HALL = {"__init__", "errors", "options", "progress", "schema", "settings", "stop", "wire"}
MIN_SENTENCES = 3


def test_the_hall_holds_only_what_every_room_uses() -> None:
    assert {path.stem for path in ROOT.glob("*.py")} == HALL


def test_the_directions_between_the_rooms_hold() -> None:
    """import-linter keeps the contracts in pyproject.toml, under tool.importlinter."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True
    )  # in a process of its own: it sets up logging for itself
    assert told.returncode == 0, told.stdout


def test_every_room_says_what_lives_there_and_what_it_may_import() -> None:
    rooms = list(ROOT.glob("*/__init__.py"))
    assert rooms
    for room in rooms:
        said = (room.read_text(encoding="utf-8").split('"""')[1]).strip()
        assert said.count(".") >= MIN_SENTENCES, room
        assert "ay import" in said, room
