"""Everything that is trained: the model, and scaffolding that is not shipped."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from laser_tools.evaluation.benchmarks.microscenes.words import COLOURS, LABEL_CHARS, SHAPES
from training.pico import attention
from training.pico.build import GRID, INIT_STD, TOKENS, build_model
from training.pico.cells import FIELD_SIZES, MAX_LABEL
from training.pico.packing import Packed

CHARACTERS = len(LABEL_CHARS) + 1  # 0 for none
WAVES = ((0.25, 2.0), (0.5, 2.0), (1.0, 1.0), (2.0, 1.0))  # (half periods over the side, weight)


def ordinal_(table: Tensor) -> None:
    """Fill a table (places, width), in place, so that near places are alike and order is linear.

    The slowest waves are nearly the place and its square: with these a query for "left of here" is
    a sum of a place and a direction. From unordered tables directions were not learned.
    """
    at = torch.linspace(-1, 1, len(table))[:, None]
    waves = [w * f(math.pi * k * at) for k, w in WAVES for f in (torch.sin, torch.cos)]
    features = torch.cat(waves, dim=1)
    mixed = (features - features.mean(0)) @ torch.randn(features.shape[1], table.shape[1])
    with torch.no_grad():
        table.copy_(2 * INIT_STD * mixed / mixed.std())


class Symbols(nn.Module):
    """A cell as the sum of the words for what it holds, of tables of its own, and of its place.

    The words are the language model's own embeddings, so that a question's "red" resembles a red
    cell from the start; the tables tell the second character from the third, and none from some.
    """

    words: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        vocab = {token: i for i, token in enumerate(TOKENS)}
        pieces = [f"##{char}" for char in LABEL_CHARS]
        fields = (list(COLOURS), list(SHAPES), list(LABEL_CHARS), pieces, pieces)
        known = [[0, *(vocab[word] for word in words)] for words in fields]
        padded = [row + [0] * (max(FIELD_SIZES) - len(row)) for row in known]
        self.register_buffer("words", torch.tensor(padded))  # fields x values -> token id
        self.fields = nn.ModuleList(nn.Embedding(size, width) for size in FIELD_SIZES)
        self.row, self.column = nn.Embedding(GRID, width), nn.Embedding(GRID, width)
        for table in self.fields.parameters():
            nn.init.normal_(table, std=INIT_STD)
        for places in (self.row, self.column):
            ordinal_(places.weight)

    def forward(self, targets: Tensor, word_embeddings: Tensor) -> Tensor:
        """Cell targets (..., PLANES), embeddings (vocabulary, width) -> (cells, width)."""
        cells = targets.flatten(0, -2).clamp(min=0).long()
        place = torch.arange(len(cells), device=cells.device) % (GRID * GRID)
        total: Tensor = self.row(place // GRID) + self.column(place % GRID)
        for i, table in enumerate(self.fields):
            word = word_embeddings[self.words[i, cells[:, i]]]
            total = total + table(cells[:, i]) + word * (cells[:, i : i + 1] > 0)
        return total


@dataclass(frozen=True)
class Said:
    """Answers' next tokens (targets, vocabulary), and what each layer tells beside them.

    `places` (layers, targets, 4, GRID): row and column of the thing named, then of the thing asked
    for; `labels` (layers, targets, 2 * MAX_LABEL, characters): what they carry.
    """

    logits: Tensor
    places: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Told:
    """What the tower tells of a batch of views, and its `features` (B, channels, 12, 12)."""

    glyphs: Tensor  # (B, characters, 24, 24): a character at each fine cell
    fields: Tensor  # (B, sum(FIELD_SIZES), 12, 12): what each cell holds
    features: Tensor


@dataclass
class Parts:
    """The model, its symbolic eyes, and the heads that teach the tower."""

    model: LlavaForConditionalGeneration
    symbols: Symbols
    heads: nn.ModuleDict  # "cells": all fields of a cell; "glyphs": one character, at stride 4
    pointers: nn.ModuleList  # one a layer: hidden state -> row and column of two things
    spellers: nn.ModuleList  # the same -> the characters of their labels
    device: torch.device

    @classmethod
    def fresh(cls, device: torch.device, seed: int = 0) -> Parts:
        """With new weights, the same for the same seed."""
        torch.manual_seed(seed)
        model = build_model()
        model.set_attn_implementation({"text_config": attention.NAME})
        tower = model.model.vision_tower
        nn.init.normal_(tower.row, std=0.3)
        nn.init.normal_(tower.column, std=0.3)
        tower.to(memory_format=torch.channels_last)
        _, fine, coarse = tower.config.widths
        glyphs = nn.Conv2d(fine, len(LABEL_CHARS) + 1, 1)
        heads = nn.ModuleDict({"cells": nn.Conv2d(coarse, sum(FIELD_SIZES), 1), "glyphs": glyphs})
        text = model.config.text_config
        symbols = Symbols(text.hidden_size)
        pointers = nn.ModuleList(
            nn.Linear(text.hidden_size, 4 * GRID) for _ in range(text.num_hidden_layers)
        )
        spellers = nn.ModuleList(
            nn.Linear(text.hidden_size, 2 * MAX_LABEL * CHARACTERS)
            for _ in range(text.num_hidden_layers)
        )
        parts = cls(model, symbols, heads, pointers, spellers, device)
        for module in parts.modules().values():
            module.to(device)
        return parts

    def modules(self) -> dict[str, nn.Module]:
        return {
            "model": self.model,
            "symbols": self.symbols,
            "heads": self.heads,
            "pointers": self.pointers,
            "spellers": self.spellers,
        }

    def autocast(self) -> torch.autocast:
        """bfloat16 for what is multiplied: on CPUs that have it too it is twice as fast."""
        return torch.autocast(self.device.type, torch.bfloat16)

    def symbolise(self, targets: Tensor) -> Tensor:
        """Cell targets (..., PLANES) -> symbolic cells (cells, width)."""
        cells: Tensor = self.symbols(targets, self.model.model.language_model.embed_tokens.weight)
        return cells

    def told(self, pixels: Tensor) -> Told:
        """Pixels (B, 3, 96, 96) through the tower and the heads that teach it."""
        with self.autocast():
            fine, coarse = self.model.model.vision_tower.scales(pixels)
            return Told(self.heads["glyphs"](fine), self.heads["cells"](coarse), coarse)

    def projected(self, told: Told) -> Tensor:
        """What the projector makes of every cell: (B*144, width)."""
        tower = self.model.model.vision_tower
        place = tower.row[:, None] + tower.column[None]
        hidden = (told.features.float().permute(0, 2, 3, 1) + place).flatten(0, 2)
        cells: Tensor = self.model.model.multi_modal_projector(hidden)
        return cells

    def answer_logits(self, packed: Packed, cells: Tensor) -> Said:
        """What is said at every position whose next token is an answer's.

        `cells` (all image cells of the batch, width) take the places of the image tokens.
        """
        language = self.model.model.language_model
        is_cell = packed.slots >= 0
        embeds = language.embed_tokens(packed.input_ids).masked_scatter(
            is_cell[..., None], cells[packed.slots[is_cell]].float()
        )
        out = language(
            inputs_embeds=embeds,
            attention_mask=packed.mask,
            position_ids=packed.position_ids,
            use_cache=False,
            output_hidden_states=True,
        )
        logits: Tensor = self.model.lm_head(out.last_hidden_state.flatten(0, 1)[packed.where])
        states = [layer.flatten(0, 1)[packed.where] for layer in out.hidden_states[1:]]
        places, labels = (
            torch.stack([head(state) for head, state in zip(heads, states, strict=True)])
            for heads in (self.pointers, self.spellers)
        )
        return Said(
            logits,
            places.unflatten(-1, (4, GRID)),  # type: ignore[no-untyped-call]
            labels.unflatten(-1, (2 * MAX_LABEL, CHARACTERS)),  # type: ignore[no-untyped-call]
        )
