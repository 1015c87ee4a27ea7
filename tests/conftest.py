"""Fixtures that more than one folder uses."""

from __future__ import annotations

import os

import pytest

from laser_tools.tools import LaserToolkit
from tests.docs import tally
from tests.tools.fakes import ColourEngine, scene

# Read when torch is first imported: threads that spin while they wait for each other make two of
# them twenty times slower than one wherever something else runs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture
def engine() -> ColourEngine:
    return ColourEngine()


@pytest.fixture
def toolkit(engine: ColourEngine) -> LaserToolkit:
    """A toolkit over the fake engine; `img_1` is a red rectangle on white, 800x400."""
    toolkit = LaserToolkit(engine=engine)
    toolkit.add_image(scene())
    return toolkit


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many blocks of the documentation were run."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    for line in tally.lines(reports):
        terminalreporter.write_line(line)
