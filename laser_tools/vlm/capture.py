"""Attention from the end of the prompt to its visual tokens, while the model runs as usual.

The language model gets an attention function of ours for the length of a `with` block: stock sdpa,
plus softmax(q k^T) for the last R positions only, so memory is O(L*H*N), not O(L*H*S^2).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from laser_tools.errors import ModelUnavailable
from laser_tools.vlm.load import VLM

ATTN_IMPLEMENTATION = "laser_capture"

_SINK: ContextVar[Capture | None] = ContextVar("laser_capture", default=None)
_SWITCH = threading.Lock()  # two captures at once would restore each other's implementation


@dataclass(frozen=True)
class Places:
    """Where a batch's prompts stand: a row may have several, one behind another."""

    at: Sequence[tuple[int, int]]  # per prompt, its row, and which of the row's prompts it is
    behind: Sequence[int]  # per prompt of a row, how many columns come behind its last

    @classmethod
    def one_a_row(cls, n: int) -> Places:
        """Each prompt ends its row."""
        return cls([(row, 0) for row in range(n)], (0,))


class Capture:
    """What to read, and what was read at the prefill (decode steps are not recorded)."""

    def __init__(self, visual: Sequence[Tensor], weights: Tensor, places: Places) -> None:
        """`weights` (n, R) averages the last R positions of each prompt.

        `visual` holds, per prompt, the positions (N,) of its visual tokens in its row.
        """
        self.layers: dict[int, Tensor] = {}  # by layer: attention (B, H, prompts of a row, S)
        self._visual, self._places = visual, places
        self._behind = torch.tensor(places.behind)
        n_rows = 1 + max(row for row, _ in places.at)
        self._weights = weights.new_zeros(n_rows, len(places.behind), weights.shape[1])
        for place, weight in zip(places.at, weights, strict=True):
            self._weights[place] = weight

    def read(
        self, query: Tensor, key: Tensor, attention_mask: Tensor | None, scaling: float
    ) -> Tensor:
        """(B, H, prompts of a row, S): the weighted mean over each prompt's last R positions."""
        last = torch.arange(-self._weights.shape[-1], 0)  # a shorter prompt's first weigh nothing
        positions = (query.shape[2] - self._behind[:, None] + last).clamp(min=0).flatten()
        rows = attention_rows(query, key, attention_mask, scaling, positions.to(query.device))
        weights = self._weights.to(rows)
        batch, heads, _, length = rows.shape
        rows = rows.view(batch, heads, *weights.shape[1:], length)
        return (weights[:, None, :, None] @ rows)[:, :, :, 0]

    def rows(self) -> list[Tensor]:
        """Per prompt, attention (L, H, N) in float32. Raises ModelUnavailable if none came."""
        if not self.layers:
            raise ModelUnavailable("This model does not compute attention where it can be read.")
        first = self.layers[min(self.layers)]  # layers may lie on several devices
        found = torch.stack([self.layers[one].to(first.device) for one in sorted(self.layers)])
        return [
            found[:, row, :, branch, visual.to(found.device)]
            for (row, branch), visual in zip(self._places.at, self._visual, strict=True)
        ]


@contextmanager
def capture(
    vlm: VLM, visual: list[Tensor], weights: Tensor, places: Places | None = None
) -> Iterator[Capture]:
    """Record the first forward pass inside the block; the former implementation comes back.

    `places` may be left out where each row of the batch is one prompt.

    Other threads may run the same model meanwhile: they get plain sdpa and are not recorded.
    """
    sink = Capture(visual, weights, places or Places.one_a_row(len(visual)))
    decoder = vlm.model.get_decoder()
    with _SWITCH:
        before = decoder.config._attn_implementation
        token = _SINK.set(sink)
        try:
            decoder.set_attn_implementation(ATTN_IMPLEMENTATION)
            yield sink
        finally:
            decoder.set_attn_implementation(before)
            _SINK.reset(token)


def _forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: object,  # the interface's: position ids, dropout, ...
) -> tuple[Tensor, Tensor | None]:
    sink, layer_idx = _SINK.get(), getattr(module, "layer_idx", None)
    if sink is not None and layer_idx is not None and layer_idx not in sink.layers:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        sink.layers[layer_idx] = sink.read(query, key, attention_mask, scale)
    output: tuple[Tensor, Tensor | None]
    output = sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, **options
    )
    return output


def attention_rows(
    query: Tensor, key: Tensor, attention_mask: Tensor | None, scaling: float, positions: Tensor
) -> Tensor:
    """softmax(q k^T) of the queries at `positions` (R,), (B, H, R, S) in float32.

    query (B, H, S', D) are the last S' of S positions; key (B, H_kv, S, D); the mask is boolean,
    additive, or None for causal.
    """
    batch, heads, _, dim = query.shape
    groups, n = heads // key.shape[1], len(positions)
    last = query[:, :, positions].reshape(batch, key.shape[1], groups * n, dim)
    scores = (last @ key.transpose(-1, -2)).float() * scaling
    scores = scores.view(batch, heads, n, key.shape[2])
    if attention_mask is None:
        columns = torch.arange(key.shape[2], device=key.device)
        mask = columns <= (positions + key.shape[2] - query.shape[2])[:, None]
    else:
        mask = attention_mask[:, :, positions, : key.shape[2]]
    return _masked(scores, mask).softmax(dim=-1)


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return scores + mask
    lowest = torch.finfo(scores.dtype).min  # not -inf: rows of padding must not become NaN
    return scores.masked_fill(~mask, lowest)


AttentionInterface.register(ATTN_IMPLEMENTATION, _forward)
AttentionMaskInterface.register(ATTN_IMPLEMENTATION, sdpa_mask)  # without it causality is lost
