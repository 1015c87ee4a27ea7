"""Cross-attention with weights of its own, as the paper adds it: before a layer of text alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward

from laser_tools.visor.columns import Columns
from laser_tools.visor.config import VisorConfig

KERNEL = 7  # of the conditional position embedding (arXiv 2603.23495)


class AddedAttention(nn.Module):
    """`Z = T + CrossAttn(T, V)`, which changes nothing until it is trained.

    Keys have no rotated positions: with `position` "conv" a depth-wise convolution along the visual
    tokens tells each of its neighbours, with "none" they have no place but what their states hold.
    """

    is_causal = False

    def __init__(self, config: PreTrainedConfig, layer_idx: int, slot: int, position: str) -> None:
        """`slot` is the place of its keys and values in the cache."""
        super().__init__()
        self.config, self.layer_idx, self.slot = config, layer_idx, slot
        width, heads = config.hidden_size, config.num_attention_heads
        self.head_dim = getattr(config, "head_dim", None) or width // heads
        self.num_key_value_groups = heads // config.num_key_value_heads
        self.scaling = self.head_dim**-0.5
        shared = config.num_key_value_heads * self.head_dim
        self.text_norm = nn.RMSNorm(width, eps=config.rms_norm_eps)
        self.visual_norm = nn.RMSNorm(width, eps=config.rms_norm_eps)
        self.q_proj = nn.Linear(width, heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(width, shared, bias=False)
        self.v_proj = nn.Linear(width, shared, bias=False)
        self.o_proj = nn.Linear(heads * self.head_dim, width, bias=False)
        self.position = _convolution(width) if position == "conv" else None
        nn.init.zeros_(self.o_proj.weight)

    def forward(
        self, text: Tensor, full: Tensor, columns: Columns, mask: Tensor, cache: Cache | None
    ) -> tuple[Tensor, Tensor | None]:
        """Text (B, T, d) that has looked at the visual tokens of `full` (B, S, d) and of before.

        And the attention (B, H, T, C), where it is computed eagerly. `mask` (B, 1, T, C) is added
        to scores; who sees no visual token at all stays as it is.
        """
        keys, values = self._visual(full, columns)
        if cache is not None:
            keys, values = cache.update(keys, values, self.slot)
        queries = self._heads(self.q_proj(self.text_norm(text)))
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        mixed, weights = attend(
            self, queries, keys, values, mask, scaling=self.scaling, dropout=0.0
        )
        looked: Tensor = self.o_proj(mixed.flatten(2))
        sees = (mask > torch.finfo(mask.dtype).min / 2).any(dim=-1)[:, 0, :, None]
        return text + looked * sees, weights

    def _visual(self, full: Tensor, columns: Columns) -> tuple[Tensor, Tensor]:
        """Keys and values of all columns, of which those of text do not count."""
        states = full * columns.visual[..., None]
        if self.position is not None:
            states = states + self.position(states.transpose(1, 2)).transpose(1, 2)
        normed = self.visual_norm(states)
        return self._heads(self.k_proj(normed)), self._heads(self.v_proj(normed))

    def _heads(self, states: Tensor) -> Tensor:
        """(B, S, H D) -> (B, H, S, D)."""
        return states.view(*states.shape[:-1], -1, self.head_dim).transpose(1, 2)


def added_to(config: VisorConfig, text: PreTrainedConfig) -> nn.ModuleList:
    """One for each cross-attention layer, or none where the layers' own weights serve.

    `text` is the language model's own config, whose attention function is used.
    """
    if config.cross_attention != "added":
        return nn.ModuleList()
    return nn.ModuleList(
        AddedAttention(text, layer, text.num_hidden_layers + number, config.position)
        for number, layer in enumerate(config.cross_layers)
    )


def _convolution(width: int) -> nn.Conv1d:
    """Along the sequence, each channel alone; 0 before it is trained."""
    made = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=width)
    nn.init.zeros_(made.weight)
    nn.init.zeros_(made.bias)  # type: ignore[arg-type]  # it has one
    return made
