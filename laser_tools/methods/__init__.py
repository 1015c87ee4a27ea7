"""Ways to answer, all of one type: LASER is the product, the others are what it is held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from laser_tools.options import LaserOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer
from laser_tools.stop import ShouldStop
from laser_tools.vlm.load import VLM

Method = Callable[[VLM, Sequence[AnswerRequest], LaserOptions, ShouldStop], list[GroundedAnswer]]
"""One answer per request, in order; nothing is kept between calls but the model's prefix cache."""
