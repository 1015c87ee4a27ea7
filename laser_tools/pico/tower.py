"""pico's vision tower: a small residual convolutional network, one token per 8x8 pixel cell."""

from __future__ import annotations

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class PicoTowerConfig(PreTrainedConfig):  # type: ignore[misc]
    """Sizes of the tower; `widths` are channels at stride 2, 4 and 8."""

    model_type = "pico_tower"

    image_size: int = 96
    patch_size: int = 8
    hidden_size: int = 160
    widths: list[int] | None = None


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with group norm, added to their input."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False),
            nn.GroupNorm(8, width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.GroupNorm(8, width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.body(x))


def _down(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
        nn.GroupNorm(8, after),
        nn.ReLU(inplace=True),
    )


class PicoTower(PreTrainedModel):  # type: ignore[misc]
    """pixel_values (B, 3, S, S) -> last_hidden_state (B, (S/8)^2, hidden), rows first.

    A learned row and column embedding is added at the end: the language model needs to know where
    a token lies in two dimensions.
    """

    config_class = PicoTowerConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _supports_sdpa = True  # no attention at all: any implementation will do
    _supports_attention_backend = True

    def __init__(self, config: PicoTowerConfig) -> None:
        super().__init__(config)
        first, second, third = config.widths or [40, 80, config.hidden_size]
        self.layers = nn.Sequential(
            _down(3, first),
            ResidualBlock(first),
            _down(first, second),
            ResidualBlock(second),
            _down(second, third),
            ResidualBlock(third),
            ResidualBlock(third, dilation=2),
        )
        side = config.image_size // config.patch_size
        self.row = nn.Parameter(torch.zeros(side, config.hidden_size))
        self.column = nn.Parameter(torch.zeros(side, config.hidden_size))
        self.post_init()

    def scales(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features before the position is added, at stride 4 and at stride 8: (B, C, h, w)."""
        x = pixel_values.contiguous(memory_format=torch.channels_last)
        fine = self.layers[:4](x)
        return fine, self.layers[4:](fine)

    def forward(self, pixel_values: torch.Tensor, **_: object) -> BaseModelOutput:
        """Keyword arguments of attention-based towers are accepted and have no effect."""
        where = self.row[:, None] + self.column[None]  # rows x columns x hidden
        hidden = (self.scales(pixel_values)[1].permute(0, 2, 3, 1) + where).flatten(1, 2)
        return BaseModelOutput(last_hidden_state=hidden, hidden_states=(hidden,))


def register() -> None:
    """Teach AutoConfig and AutoModel the tower, so that pico loads like any other model."""
    AutoConfig.register(PicoTowerConfig.model_type, PicoTowerConfig, exist_ok=True)
    AutoModel.register(PicoTowerConfig, PicoTower, exist_ok=True)
