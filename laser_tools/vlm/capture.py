"""Attention from the end of the prompt to its visual tokens, while the model runs as usual.

The language model gets an attention function of ours for the length of a `with` block: stock sdpa,
plus softmax(q k^T) for the last R positions only, so memory is O(L*H*N), not O(L*H*S^2).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from laser_tools.errors import ModelUnavailable
from laser_tools.vlm.load import VLM

ATTN_IMPLEMENTATION = "laser_capture"

_SINK: ContextVar[Capture | None] = ContextVar("laser_capture", default=None)
_SWITCH = threading.Lock()  # two captures at once would restore each other's implementation


@dataclass
class Capture:
    """What to read, and what was read at the prefill (decode steps are not recorded).

    `weights` (B, R) averages the last R positions of each row; `visual` holds, per row, the
    positions (N,) of its visual tokens.
    """

    visual: list[Tensor]
    weights: Tensor
    layers: dict[int, list[Tensor]] = field(default_factory=dict)  # layer -> per row (H, N)

    def rows(self) -> list[Tensor]:
        """Per batch row, attention (L, H, N) in float32. Raises ModelUnavailable if none came."""
        if not self.layers:
            raise ModelUnavailable("This model does not compute attention where it can be read.")
        layers = [self.layers[layer_idx] for layer_idx in sorted(self.layers)]
        return [torch.stack([layer[b] for layer in layers]) for b in range(len(self.visual))]


@contextmanager
def capture(vlm: VLM, visual: list[Tensor], weights: Tensor) -> Iterator[Capture]:
    """Record the first forward pass inside the block; the former implementation comes back.

    Other threads may run the same model meanwhile: they get plain sdpa and are not recorded.
    """
    sink = Capture(visual, weights)
    config = vlm.model.config.get_text_config()
    with _SWITCH:
        before = config._attn_implementation
        token = _SINK.set(sink)
        try:
            _switch(vlm.model, ATTN_IMPLEMENTATION)
            yield sink
        finally:
            _switch(vlm.model, before)
            _SINK.reset(token)


def _switch(model: PreTrainedModel, attn_implementation: str) -> None:
    model.set_attn_implementation({"text_config": attn_implementation})


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
        sink.layers[layer_idx] = _read(sink, query, key, attention_mask, scale)
    output: tuple[Tensor, Tensor | None]
    output = sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, **options
    )
    return output


def _read(
    sink: Capture, query: Tensor, key: Tensor, attention_mask: Tensor | None, scaling: float
) -> list[Tensor]:
    """Per row (H, N): the weighted mean over the last R positions of what reaches visual tokens."""
    rows = attention_rows(query, key, attention_mask, scaling, n_last=sink.weights.shape[1])
    mean = torch.einsum("bhrs,br->bhs", rows, sink.weights.to(rows))
    return [mean[b, :, visual.to(mean.device)] for b, visual in enumerate(sink.visual)]


def attention_rows(
    query: Tensor, key: Tensor, attention_mask: Tensor | None, scaling: float, n_last: int
) -> Tensor:
    """softmax(q k^T) of the last `n_last` positions, (B, H, n_last, S) in float32.

    query (B, H, S, D); key (B, H_kv, S, D); the mask is boolean, additive, or None for causal.
    """
    batch, heads, _, dim = query.shape
    groups = heads // key.shape[1]
    last = query[:, :, -n_last:].reshape(batch, key.shape[1], groups * n_last, dim)
    scores = (last @ key.transpose(-1, -2)).float() * scaling
    scores = scores.view(batch, heads, n_last, key.shape[2])
    return _masked(scores, attention_mask).softmax(dim=-1)


def _masked(scores: Tensor, attention_mask: Tensor | None) -> Tensor:
    n_last, length = scores.shape[-2:]
    lowest = torch.finfo(scores.dtype).min  # not -inf: rows of padding must not become NaN
    if attention_mask is None:
        causal = torch.ones(n_last, length, dtype=torch.bool, device=scores.device)
        return scores.masked_fill(~causal.tril(length - n_last), lowest)
    mask = attention_mask[:, :, -n_last:, :length]
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, lowest)
    return scores + mask


AttentionInterface.register(ATTN_IMPLEMENTATION, _forward)
AttentionMaskInterface.register(ATTN_IMPLEMENTATION, sdpa_mask)  # without it causality is lost
