"""Ways to answer a question about an image, as data: LASER, and what it is held against.

A method is a file and a row of `METHODS`. It reads and decodes through `vlm`, and its formulas are
`grounding`'s. May import `vlm`, `grounding` and the hall.
"""

from __future__ import annotations

from collections.abc import Mapping

from laser_tools.methods import laser, plain
from laser_tools.methods.base import Method
from laser_tools.schema import MethodName

METHODS: Mapping[MethodName, Method] = {
    "plain": plain.METHOD,
    "laser": laser.METHOD,
}
