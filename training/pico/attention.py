"""Attention for training on packed rows: bfloat16 throughout, with a dense mask.

Backward through stock sdpa takes three times as long with a dense mask, and stock eager attention
spends most of its time on float32 softmax.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "pico_packed"


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """(B, H, S, D) each, and a mask (B, 1, S, S) to add; returns (B, S, H, D)."""
    with torch.autocast(query.device.type, enabled=False):
        query, key = query.to(value.dtype) * scaling, key.to(value.dtype)
        scores = query @ key.transpose(-1, -2) + attention_mask.to(value.dtype)
        mixed = scores.softmax(dim=-1) @ value
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
