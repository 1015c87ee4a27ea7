"""How many threads the model computes with on CPUs."""

from __future__ import annotations

import os


def leave_a_core() -> None:
    """To the event loop, which refuses what the model has no time for.

    The threads of one computation wait for each other at every step. Where they take all cores, one
    of them shares its core with the loop, and all of them wait for that one: with two threads on
    two cores the packaged model answers a fifth less than with one. OMP_NUM_THREADS wins.
    """
    import torch

    if "OMP_NUM_THREADS" in os.environ:
        return
    spared = max((os.cpu_count() or 1) - 1, 1)
    torch.set_num_threads(min(torch.get_num_threads(), spared))
