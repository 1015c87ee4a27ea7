"""A fingerprint of the weights; cached prefixes are dropped when it changes.

What was prefilled holds for the weights it was made with. A caller may convert, train or adapt the
model meanwhile: every such change gives parameters new memory, or writes to them in place.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

WeightsState = tuple[tuple[str, StorageWeakRef, int], ...]
"""Per parameter its name, its memory (not kept alive), and how often it was written to."""


def weights_state(model: nn.Module) -> WeightsState:
    """The state of `model`'s parameters; no weight is read.

    Memory that is given up is never taken for new memory at its old address. A write through
    `.data`, which torch does not count, is not seen. Parameters that are on no device (`meta`:
    accelerate brings those in layer by layer, each time anew) are left out.
    """
    named = ((name, one) for name, one in model.named_parameters() if not one.is_meta)
    return tuple((name, _memory(one), _writes(one)) for name, one in named)


def _memory(parameter: Tensor) -> StorageWeakRef:
    return StorageWeakRef(parameter.untyped_storage())  # type: ignore[no-untyped-call]


def _writes(parameter: Tensor) -> int:
    return 0 if parameter.is_inference() else parameter._version
