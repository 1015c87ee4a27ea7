"""Prefilled images that outlive a request: least recently used first out, held to a byte budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

Key = tuple[tuple[tuple[int, ...], bytes], ...]
"""Per image of a prompt so far: the text tokens in front of it, and the digest of its pixels."""


@dataclass(frozen=True)
class Segment:
    """One image of a prompt, prefilled: the text in front of it and its tokens, T in all.

    Its keys and values hold for one prompt so far only, the one that its `Key` spells out.
    """

    input_ids: Tensor  # (T,)
    states: Tensor  # (T, L, 2, H_kv, D): keys and values of the language model's layers
    image_inputs: dict[str, Tensor]  # what the processor says of the image beside its pixels

    @property
    def nbytes(self) -> int:
        return sum(one.nbytes for one in (self.input_ids, self.states, *self.image_inputs.values()))


class PrefixCache:
    """Segments of one model by key. Not locked: whoever uses it holds the model's lock."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        self._segments: OrderedDict[Key, Segment] = OrderedDict()

    def __len__(self) -> int:
        return len(self._segments)

    def get(self, key: Key) -> Segment | None:
        """The segment, now the most recently used one; None where it is not kept."""
        if key in self._segments:
            self._segments.move_to_end(key)
        return self._segments.get(key)

    def put(self, key: Key, segment: Segment) -> None:
        """Keep `segment`, at the cost of the least recently used ones; not if it fits no budget."""
        if segment.nbytes > self.max_bytes or key in self._segments:
            return
        self._segments[key] = segment
        self.nbytes += segment.nbytes
        while self.nbytes > self.max_bytes:
            _, oldest = self._segments.popitem(last=False)
            self.nbytes -= oldest.nbytes


def key_values(past: Sequence[Sequence[Segment]]) -> DynamicCache:
    """A cache for the rows of a batch, each padded left, that may grow: it is a copy."""
    cache = DynamicCache()
    if not any(past):
        return cache
    rows = [torch.cat([segment.states for segment in row]) for row in past]
    states = pad_sequence(rows, batch_first=True, padding_side="left")  # B x T x L x 2 x H x D
    for layer_idx, layer in enumerate(states.unbind(dim=2)):
        keys, values = layer.permute(2, 0, 3, 1, 4)
        cache.update(keys, values, layer_idx)
    return cache
