"""Fixtures that more than one folder uses."""

from __future__ import annotations

import pytest

from laser_tools.tools import LaserToolkit
from tests.tools.fakes import ColourEngine, scene


@pytest.fixture
def engine() -> ColourEngine:
    return ColourEngine()


@pytest.fixture
def toolkit(engine: ColourEngine) -> LaserToolkit:
    """A toolkit over the fake engine; `img_1` is a red rectangle on white, 800x400."""
    toolkit = LaserToolkit(engine=engine)
    toolkit.add_image(scene())
    return toolkit
