"""The layer rule (arXiv 2603.23495, eqs. 1-3) over a dense model's decoder layers.

| kind | visual tokens | text |
|---|---|---|
| self | updated | attends to all |
| cross | as they are | attends to all |
| text | as they are | attends to text |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor, nn

from laser_tools.visor.added import AddedAttention
from laser_tools.visor.cache import VisorCache
from laser_tools.visor.columns import Columns
from laser_tools.visor.config import Configuration, VisorConfig
from laser_tools.visor.layers import Rope, among_visual
from laser_tools.visor.masks import Masks

Kind = Literal["self", "cross", "text"]


@dataclass(frozen=True)
class Stack:
    """A language model's layers, and what has been added to them."""

    layers: nn.ModuleList
    config: VisorConfig
    added: Mapping[int, AddedAttention] = field(default_factory=dict)  # by layer

    def seen_in(self, active: Configuration) -> frozenset[int]:
        """Which of the cache's layers hold visual tokens' keys and values."""
        cross = [
            self.added[number].slot if number in self.added else number
            for number in self.config.cross_layers
            if number not in active
        ]
        return frozenset((*cross, *active))

    def slots(self, first: int) -> list[int]:
        """The cache's layers that are filled from layer `first` on."""
        own = range(first, len(self.layers))
        return [*own, *(each.slot for number, each in self.added.items() if number >= first)]


def kind_of(config: VisorConfig, layer_idx: int, active: Configuration) -> Kind:
    """What a layer is under a configuration."""
    if layer_idx in active:
        return "self"
    return "cross" if layer_idx in config.cross_layers else "text"


@dataclass(frozen=True)
class Stream:
    """A batch between two layers."""

    full: Tensor  # (B, S, d); of text tokens it may be older than `text`
    text: Tensor  # (B, T, d)
    columns: Columns
    rope: Rope
    masks: Masks
    cache: VisorCache | None

    @property
    def text_rope(self) -> Rope:
        cos, sin = self.rope
        return self.columns.text(cos), self.columns.text(sin)

    @property
    def hidden(self) -> Tensor:
        """(B, S, d)."""
        return self.columns.put(self.full, self.text)

    def rows(self, index: Tensor, cache: VisorCache | None) -> Stream:
        """Some rows of the batch, whose layers go into `cache` from here on."""
        return Stream(
            self.full[index],
            self.text[index],
            self.columns.rows(index),
            (self.rope[0][index], self.rope[1][index]),
            self.masks.rows(index, cache),
            cache,
        )


def walk(stack: Stack, stream: Stream, numbers: Iterable[int], active: Configuration) -> Stream:
    """Through the layers of these numbers."""
    for number in numbers:
        layer, kind = stack.layers[number], kind_of(stack.config, number, active)
        if kind == "cross" and number in stack.added:
            stream, kind = replace(stream, text=_looked(stack.added[number], stream)), "text"
        if stream.columns.all_text:
            text = _text_alone(layer, number, stream)
            stream = replace(stream, text=text, full=text)
        elif kind == "self":
            full = _self_attention(layer, number, stream)
            stream = replace(stream, text=stream.columns.text(full), full=full)
        elif kind == "cross":
            stream = replace(stream, text=_cross_attention(layer, number, stream))
        else:
            stream = replace(stream, text=_text_alone(layer, number, stream))
    return stream


def _looked(added: AddedAttention, stream: Stream) -> Tensor:
    mask = stream.masks.visual(added.slot, stream.text)
    looked: Tensor = added(stream.text, stream.full, stream.columns, mask, stream.cache)[0]
    return looked


def _self_attention(layer: nn.Module, number: int, stream: Stream) -> Tensor:
    hidden = stream.hidden
    updated: Tensor = layer(
        hidden,
        attention_mask=stream.masks.full(number, hidden),
        position_embeddings=stream.rope,
        past_key_values=stream.cache,
    )
    return updated


def _cross_attention(layer: nn.Module, number: int, stream: Stream) -> Tensor:
    updated: Tensor = layer(
        stream.text,
        attention_mask=stream.masks.cross(number, stream.text),
        position_embeddings=stream.text_rope,
        past_key_values=among_visual(layer, stream.full, stream.columns, stream.rope, stream.cache),
    )
    return updated


def _text_alone(layer: nn.Module, number: int, stream: Stream) -> Tensor:
    """Text that attends to what the layer has held so far, and to itself."""
    past_has_all = stream.cache is not None and stream.cache.holds_all(number)
    mask = stream.masks.full if past_has_all else stream.masks.text
    updated: Tensor = layer(
        stream.text,
        attention_mask=mask(number, stream.text),
        position_embeddings=stream.text_rope,
        past_key_values=stream.cache,
        sees_images=past_has_all,
    )
    return updated
