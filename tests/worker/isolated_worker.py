"""A worker whose failing model has a process of its own: a group to send signals to."""

from __future__ import annotations

import sys
from unittest.mock import patch

from laser_tools import cli
from tests.worker.process_faults import load

if __name__ == "__main__":
    with patch("laser_tools.worker.isolated.backend.load_engine", load):
        sys.exit(cli.run(["serve", "--isolated"]))
