"""The router: which configuration a question needs, from what its text has seen so far."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from laser_tools.visor.config import Configuration, VisorConfig
from laser_tools.visor.walk import Stream


class Router(nn.Module):
    """A light MLP over the text right before the first layer in which configurations differ.

    There it costs nothing: all configurations share the layers before it. Text has attended to the
    image by then, in the early layers, so its states tell of both question and picture, as
    features of the image alone would not. The last token has had little time to gather the
    question; so the mean over the text stands beside it.
    """

    def __init__(self, config: VisorConfig) -> None:
        super().__init__()
        width = config.text_config.hidden_size
        self.configurations = [tuple(layers) for layers in config.configurations]
        self.norm = nn.LayerNorm(2 * width)
        self.hidden = nn.Linear(2 * width, config.router_size)
        self.out = nn.Linear(config.router_size, len(self.configurations))

    def forward(self, features: Tensor) -> Tensor:
        """(B, 2 d) -> logits (B, configurations)."""
        logits: Tensor = self.out(nn.functional.gelu(self.hidden(self.norm(features))))
        return logits

    def of_rows(self, stream: Stream) -> list[Configuration]:
        """The likeliest configuration of every row."""
        counted = stream.masks.text_counted(stream.text)
        chosen = self(self.features(stream.text, counted)).argmax(dim=-1).tolist()
        return [self.configurations[index] for index in chosen]

    @staticmethod
    def features(text: Tensor, counted: Tensor) -> Tensor:
        """(B, 2 d) of text (B, T, d): its last token, and its mean, where `counted` (B, T) is 1."""
        numbers = torch.arange(text.shape[1], device=text.device)
        last = text[torch.arange(len(text), device=text.device), (counted * numbers).argmax(dim=1)]
        mean = (text * counted[..., None]).sum(dim=1) / counted.sum(dim=1, keepdim=True)
        return torch.cat([last, mean], dim=-1)
