"""The CPU cores that the worker leaves to its event loop."""

from __future__ import annotations

import os


def leave_a_core() -> None:
    """Leave one CPU core to the event loop, which refuses what the model has no time for.

    Where the model's threads take all cores, one of them shares its core with the loop, and all of
    them wait for that one. OMP_NUM_THREADS wins.
    """
    from laser_tools.vlm.threads import limit_threads

    limit_threads(max((os.cpu_count() or 1) - 1, 1))
