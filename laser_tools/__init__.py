"""Grounded vision for agents: LASER (arXiv 2602.04304) as `grounded_vqa` and `zoom_to_evidence`.

The ten public names are loaded when first used, so importing this package imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from laser_tools.engine import LocalEngine
    from laser_tools.errors import LaserError
    from laser_tools.options import LaserOptions
    from laser_tools.schema import AnswerRequest, Box, GroundedAnswer, ZoomRequest
    from laser_tools.tools import LaserGroundedVQA, LaserToolkit, LaserZoomToEvidence

__all__ = [
    "AnswerRequest",
    "Box",
    "GroundedAnswer",
    "LaserError",
    "LaserGroundedVQA",
    "LaserOptions",
    "LaserToolkit",
    "LaserZoomToEvidence",
    "LocalEngine",
    "ZoomRequest",
]

_HOME = {
    "AnswerRequest": "schema",
    "Box": "schema",
    "GroundedAnswer": "schema",
    "LaserError": "errors",
    "LaserGroundedVQA": "tools",
    "LaserOptions": "options",
    "LaserToolkit": "tools",
    "LaserZoomToEvidence": "tools",
    "LocalEngine": "engine",
    "ZoomRequest": "schema",
}


def __getattr__(name: str) -> object:
    """Import a public name from its home on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        if _HOME[name] != "engine":
            raise
        from laser_tools.errors import MissingExtra

        raise MissingExtra(f"laser_tools.{name}", "engine") from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
