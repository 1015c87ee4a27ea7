"""Peak memory of one call, as the allocator counts it: on a GPU and on a CPU alike."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(run: Callable[[], object], model: torch.nn.Module) -> int:
    """The most that `run` holds at once in tensors, weights of `model` included.

    On a CPU it is a sum over the profiler's record of allocations, not the resident set: that
    holds Python, its libraries and what earlier calls left behind.
    """
    device = next(model.parameters()).device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device)
    weights = sum(one.nbytes for one in (*model.parameters(), *model.buffers()))
    return weights + _cpu_peak(run)


def _cpu_peak(run: Callable[[], object]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    results = recorded.profiler.kineto_results if recorded.profiler is not None else None
    if results is None:
        raise RuntimeError("The profiler recorded nothing.")
    held = peak = 0
    for event in sorted(results.events(), key=lambda one: one.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak
