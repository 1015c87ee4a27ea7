"""Keys and values of a VISOR model: of all columns where visual tokens are seen, else of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, DynamicLayer

from laser_tools.visor.columns import Columns
from laser_tools.visor.config import Configuration


@dataclass(frozen=True)
class Sight:
    """What a row's visual tokens went through: a configuration, and the layers that see them."""

    configuration: Configuration
    layers: frozenset[int]


class VisorCache(DynamicCache):  # type: ignore[misc]  # transformers is untyped here
    """A layer holds all columns, or those of text alone.

    Where the rows of a batch took different configurations, a layer in which one of them sees
    visual tokens holds all columns of all rows; `blind` says whose visual ones do not count.
    """

    def __init__(self, n_layers: int) -> None:
        super().__init__()
        self.layers = [DynamicLayer() for _ in range(n_layers)]
        self.columns: Columns | None = None
        self.sights: tuple[Sight, ...] = ()  # by row; empty before the first visual token

    def get_seq_length(self, layer_idx: int | None = None) -> int:
        """The columns of all passes so far, or those that a layer holds."""
        if layer_idx is None:
            return 0 if self.columns is None else self.columns.visual.shape[1]
        n: int = self.layers[layer_idx].get_seq_length()
        return n

    def holds_all(self, layer_idx: int) -> bool:
        """True if the layer has visual tokens' keys and values, of any row."""
        return any(layer_idx in sight.layers for sight in self.sights)

    def blind(self, layer_idx: int) -> tuple[bool, ...]:
        """By row, whether its visual tokens are not seen in a layer that holds all columns.

        Empty if those of all rows are.
        """
        found = tuple(layer_idx not in sight.layers for sight in self.sights)
        return found if any(found) else ()

    def extend(self, columns: Columns) -> None:
        """Count the columns of a pass that all layers have taken in."""
        self.columns = columns if self.columns is None else self.columns.followed_by(columns)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        super().reorder_cache(beam_idx)
        self._take(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        if self.columns is not None:
            self._take(torch.arange(len(self.columns.visual)).repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self._take(indices)

    def _take(self, rows: Tensor) -> None:
        if self.columns is not None:
            self.columns = self.columns.rows(rows.to(self.columns.visual.device))
        if self.sights:
            self.sights = tuple(self.sights[row] for row in rows.tolist())


@dataclass(frozen=True)
class Group:
    """Rows of a batch that took one configuration, and what their layers hold."""

    rows: Tensor
    cache: VisorCache


def merge(
    into: VisorCache, groups: Sequence[Group], columns: Columns, layers: Iterable[int]
) -> None:
    """Fill `layers` of `into` with those of `groups`, which make up its batch."""
    order = torch.cat([group.rows for group in groups]).argsort()
    for layer_idx in layers:
        everywhere = any(group.cache.holds_all(layer_idx) for group in groups)
        pairs = [_columns_of(group, layer_idx, columns, everywhere) for group in groups]
        keys, values = (torch.cat(part)[order] for part in zip(*pairs, strict=True))
        into.layers[layer_idx].update(keys, values)


def _columns_of(
    group: Group, layer_idx: int, columns: Columns, everywhere: bool
) -> tuple[Tensor, Tensor]:
    """Keys and values of a group's layer, spread over all columns where others have these."""
    layer = group.cache.layers[layer_idx]
    if not everywhere or group.cache.holds_all(layer_idx):
        return layer.keys, layer.values
    rows = columns.rows(group.rows)
    batch, heads, _, dim = layer.keys.shape
    nothing = layer.keys.new_zeros(batch, heads, rows.visual.shape[1], dim)
    return rows.put(nothing, layer.keys, dim=2), rows.put(nothing, layer.values, dim=2)
