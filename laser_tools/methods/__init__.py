"""Ways to answer a question about an image, as data: LASER, and what it is held against.

A method is a file here, named as in `MethodName` with underscores, whose `METHOD` is found by that
name. It reads and decodes through `vlm`, and its formulas are `grounding`'s. May import `vlm`,
`grounding` and the hall.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import get_args

from laser_tools.methods.base import Method
from laser_tools.schema import MethodName


def _method(name: MethodName) -> Method:
    method: Method = import_module(f"{__name__}.{name.replace('-', '_')}").METHOD
    return method


METHODS: Mapping[MethodName, Method] = {name: _method(name) for name in get_args(MethodName)}
