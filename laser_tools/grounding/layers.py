"""VAQ: which layer looks most at what the query asks for, and the map that it gives."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from laser_tools.errors import InvalidRequest


def vaq_scores(a_con: Tensor, k_head: int | None) -> Tensor:
    """Scores (L,) of contrastive attention (L, H, N): mean of the `k_head` largest head norms.

    `k_head` None means all heads; it is clipped to H. Source: arXiv 2602.04304, eqs. 4-5.
    """
    per_head = a_con.norm(dim=-1)  # layers x heads
    strongest: Tensor = per_head.topk(_n_heads(per_head, k_head), dim=-1).values
    return strongest.mean(dim=-1)


def choose_layer(vaq: Tensor, layer: Literal["vaq"] | int = "vaq", first_layer: int = 0) -> int:
    """The layer with the highest score from `first_layer` on, or the fixed `layer` (-1 = last).

    Raises InvalidRequest if the model has no such layer.
    """
    n_layers = len(vaq)
    if layer != "vaq":
        if not -n_layers <= layer < n_layers:
            raise InvalidRequest(f"The model has {n_layers} layers; there is no layer {layer}.")
        return layer % n_layers
    if first_layer >= n_layers:
        raise InvalidRequest(f"The model has {n_layers} layers; none is at {first_layer} or above.")
    return first_layer + int(vaq[first_layer:].argmax())


def localisation_map(
    a_con: Tensor,
    layer_idx: int,
    k_head: int | None,
    aggregate: Literal["mean", "max"] = "mean",
) -> Tensor:
    """The map (N,): mean (or max) over the layer's `k_head` heads of highest norm, section 3.2."""
    heads = a_con[layer_idx]  # heads x tokens
    per_head = heads.norm(dim=-1)
    chosen = heads[per_head.topk(_n_heads(per_head, k_head)).indices]
    return chosen.mean(dim=0) if aggregate == "mean" else torch.amax(chosen, dim=0)


def _n_heads(per_head: Tensor, k_head: int | None) -> int:
    n_heads = per_head.shape[-1]
    return n_heads if k_head is None else min(k_head, n_heads)
