"""`laser-tools serve` over the scripted engine: a process to send signals to, without torch."""

from __future__ import annotations

import os
import sys
from unittest.mock import patch

from laser_tools import cli
from laser_tools.errors import ModelUnavailable
from tests.worker.harness import ScriptedEngine


def load(settings: object) -> ScriptedEngine:
    if os.environ.get("SCRIPTED_LOAD") == "fails":
        raise ModelUnavailable("There is no such model.")
    return ScriptedEngine()


if __name__ == "__main__":
    with patch("laser_tools.worker.backends.local.load_engine", load):
        sys.exit(cli.run(["serve", *sys.argv[1:]]))
