"""`laser-tools serve --ray` with the special questions: a process to send signals to."""

from __future__ import annotations

import sys
from functools import partial
from unittest.mock import patch

from laser_tools import cli
from laser_tools.worker.ray.local import LocalCluster
from tests.worker.ray_engine import load

if __name__ == "__main__":
    local = partial(LocalCluster, load=load)
    with patch("laser_tools.worker.ray.local.LocalCluster", local):
        sys.exit(cli.run(["serve", "--ray", *sys.argv[1:]]))
