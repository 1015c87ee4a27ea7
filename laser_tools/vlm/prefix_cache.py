"""What was read of images and outlives a request: least recently used first out, in a byte budget.

That is the prefilled images themselves, and looks at them under prompts that do not ask anything.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor

from laser_tools.vlm.weights_state import WeightsState

Key = tuple[tuple[tuple[int, ...], str], ...]
"""Per image of a prompt so far: the text tokens in front of it, and its `sha256`."""


LookKey = tuple[tuple[str, ...], str | None, str, int | None]
"""A prompt: the `sha256` of its images, question, instruction; and the layer its pass ended at."""


KeyValue = tuple[Tensor, Tensor]
"""Keys and values of one layer of the language model, each (H_kv, T, D)."""


@dataclass(frozen=True)
class Segment:
    """One image of a prompt, prefilled: the text in front of it and its tokens, T in all.

    Its keys and values hold after one beginning of a prompt only, which its `Key` spells out.
    """

    input_ids: Tensor  # (T,)
    states: tuple[KeyValue, ...]  # by layer; the tensors share no memory with larger ones
    image_inputs: dict[str, Tensor]  # what the processor says of the image beside its pixels

    @property
    def nbytes(self) -> int:
        states = (tensor for pair in self.states for tensor in pair)
        return sum(
            tensor.nbytes for tensor in (self.input_ids, *states, *self.image_inputs.values())
        )


class PrefixCache:
    """Segments and looks of one model by key. Not locked: its user holds the model's lock.

    A look is the attention (L, H, N) of a prompt's end to its image.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        self._weights: WeightsState = ()
        self._held: OrderedDict[Key | LookKey, Segment | Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Key) -> Segment | None:
        """The segment, now the most recently used one; None where it is not kept."""
        found = self._used(key)
        return found if isinstance(found, Segment) else None

    def get_look(self, key: LookKey) -> Tensor | None:
        """The look, likewise."""
        found = self._used(key)
        return found if isinstance(found, Tensor) else None

    def put(self, key: Key | LookKey, made: Segment | Tensor) -> None:
        """Keep `made`, unless it alone exceeds the budget; drop the least recently used ones."""
        if made.nbytes > self.max_bytes or key in self._held:
            return
        self._held[key] = made
        self.nbytes += made.nbytes
        while self.nbytes > self.max_bytes:
            _, oldest = self._held.popitem(last=False)
            self.nbytes -= oldest.nbytes

    def hold_for(self, weights: WeightsState) -> None:
        """Drop all that was made with other weights than the present `weights`."""
        if weights != self._weights:
            self.clear()
            self._weights = weights

    def clear(self) -> None:
        """Drop everything."""
        self._held.clear()
        self.nbytes = 0

    def _used(self, key: Key | LookKey) -> Segment | Tensor | None:
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)
