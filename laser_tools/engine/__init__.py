"""Engines: whatever answers requests, in this process or over a queue.

`base` says what an engine is; `local` runs a model, `lazy` loads it at the first question,
`queued` gathers the requests of many callers into batches. May import `methods`, `doctor`, `vlm`
and what lies below; `base`, `lazy`, `queued` and `queue` import no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from laser_tools.engine.local import LocalEngine

__all__ = ["LocalEngine"]


def __getattr__(name: str) -> object:
    """Import `LocalEngine` when it is first used: it brings torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from laser_tools.engine import local

    return getattr(local, name)
