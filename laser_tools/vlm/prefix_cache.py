"""Prefilled images that outlive a request: least recently used first out, held to a byte budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import DynamicCache, DynamicLayer

from laser_tools.vlm.weights_state import WeightsState

Key = tuple[tuple[tuple[int, ...], bytes], ...]
"""Per image of a prompt so far: the text tokens in front of it, and the digest of its pixels."""


@dataclass(frozen=True)
class Segment:
    """One image of a prompt, prefilled: the text in front of it and its tokens, T in all.

    Its keys and values hold for one prompt so far only, the one that its `Key` spells out.
    """

    input_ids: Tensor  # (T,)
    states: Tensor  # (L, 2, H_kv, T, D): keys and values of the language model's layers
    image_inputs: dict[str, Tensor]  # what the processor says of the image beside its pixels

    @property
    def nbytes(self) -> int:
        return sum(one.nbytes for one in (self.input_ids, self.states, *self.image_inputs.values()))


class PrefixCache:
    """Segments of one model by key. Not locked: whoever uses it holds the model's lock."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        self._weights: WeightsState = ()
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

    def hold_for(self, weights: WeightsState) -> None:
        """Go on with the model's present weights: what others have made is of no use."""
        if weights != self._weights:
            self.clear()
            self._weights = weights

    def clear(self) -> None:
        """Keep nothing of what is kept."""
        self._segments.clear()
        self.nbytes = 0


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """A layer with room behind its tokens: what is added is written there, and nothing is moved.

    Where the room is used up, or something else has replaced the tensors, it grows as usual.
    """

    def __init__(self, room: Tensor, n_tokens: int) -> None:
        """`room` is (2, B, H_kv, S, D), with keys and values at its first `n_tokens` places."""
        super().__init__()
        self.lazy_initialization(room, room)
        self._room = room
        self._show(n_tokens)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **options: object
    ) -> tuple[Tensor, Tensor]:
        start, added = self.get_seq_length(), key_states.shape[-2]
        if self.keys is not self._shown or start + added > self._room.shape[-2]:
            grown: tuple[Tensor, Tensor] = super().update(key_states, value_states)
            return grown
        self._room[0, :, :, start : start + added] = key_states
        self._room[1, :, :, start : start + added] = value_states
        self._show(start + added)
        return self.keys, self.values

    def _show(self, n_tokens: int) -> None:
        self.keys, self.values = self._room[..., :n_tokens, :].unbind()
        self._shown = self.keys


def key_values(past: Sequence[Sequence[Segment]], room: int) -> DynamicCache:
    """A cache for the rows of a batch, each padded left, with room for as many tokens behind them.

    The segments stay as they are. A batch without any has a cache that grows as usual.
    """
    cache = DynamicCache()
    if any(past):
        length = max(_length(row) for row in past)
        layers = _copied(past, length, room).unbind()
        cache.layers = [RoomyLayer(layer, length) for layer in layers]
    return cache


def _copied(past: Sequence[Sequence[Segment]], length: int, room: int) -> Tensor:
    """(L, 2, B, H_kv, length + room, D): each row's segments end at `length`."""
    layers, two, heads, _, dim = past[0][0].states.shape
    copy = past[0][0].states.new_empty(layers, two, len(past), heads, length + room, dim)
    for index, row in enumerate(past):
        start = length - _length(row)
        copy[:, :, index, :, :start] = 0.0  # masked, but a stray NaN would get through
        for segment in row:
            stop = start + len(segment.input_ids)
            copy[:, :, index, :, start:stop] = segment.states
            start = stop
    return copy


def _length(row: Sequence[Segment]) -> int:
    return sum(len(segment.input_ids) for segment in row)
