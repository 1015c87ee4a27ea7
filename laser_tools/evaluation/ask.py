"""The function by which a bench asks: a batch of requests under given options."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from laser_tools.options import LaserOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer

Ask = Callable[[Sequence[AnswerRequest], LaserOptions], list[GroundedAnswer]]
"""Answers in the order of the requests, each by its own `method`."""
