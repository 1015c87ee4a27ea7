"""The stages of pico's training, each a model part, a loss and a schedule.

tower   dense supervision: every cell's colour, shape and characters
bind    the language model alone, on small symbolic scenes (cells as summed embeddings)
text    the same on whole scenes and all kinds of questions
places  the same, asked mostly about where things are: relation, comparison, location
align   the projector, to write for each cell what the symbolic embedding would say
joint   everything together, on all views and prompts
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from laser_tools.pico import attention
from laser_tools.pico.batches import (
    KINDS,
    Diet,
    Packed,
    Row,
    RowMaker,
    kept_cells,
    pack,
    sparse_cells,
)
from laser_tools.pico.build import INIT_STD, build_model, build_tokenizer, vocabulary
from laser_tools.pico.scenes import MOST_THINGS, Scene, Split, make_scene
from laser_tools.pico.views import (
    FIELD_SIZES,
    FIELDS,
    GRID,
    IGNORE,
    THING_FIELDS,
    ViewSpec,
    ViewStore,
    cell_targets,
    glyph_targets,
    scene_specs,
    what_is_seen,
)
from laser_tools.pico.words import COLOURS, LABEL_CHARS, SHAPES

Metrics = dict[str, float]
TOWER_VIEWS = (0.10, 0.25, 0.20, 0.12, 0.20, 0.07, 0.03, 0.03)  # shares of VIEW_KINDS


def ordinal_(table: torch.Tensor) -> None:
    """Fill a table (places, width), in place, so that near places are alike and order is linear.

    From unordered tables "left of" and "further up" were not learned.
    """
    at = torch.linspace(-1, 1, len(table))[:, None]
    waves = [at, *(wave(math.pi * k * at) for k in (0.5, 1, 2) for wave in (torch.sin, torch.cos))]
    features = torch.cat(waves, dim=1)
    mixed = features @ torch.randn(features.shape[1], table.shape[1])
    with torch.no_grad():
        table.copy_(2 * INIT_STD * mixed / mixed.std())


class Symbols(nn.Module):
    """A cell as the sum of the words for what it holds, of tables of its own, and of its place.

    The words are the language model's own embeddings, so that a question's "red" resembles a red
    cell from the start; the tables tell the second character from the third, and none from some.
    What a thing's neighbours are is in tables alone: it must not resemble what the thing is.
    """

    words: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        vocab = {token: i for i, token in enumerate(vocabulary())}
        pieces = [f"##{char}" for char in LABEL_CHARS]
        fields = (list(COLOURS), list(SHAPES), list(LABEL_CHARS), pieces, pieces)
        longest = max(FIELD_SIZES[: len(fields)])
        known = [[0, *(vocab[word] for word in words)] for words in fields]
        padded = [row + [0] * (longest - len(row)) for row in known]
        self.register_buffer("words", torch.tensor(padded))  # fields x values -> token id
        tables = [nn.Embedding(size, width) for size in FIELD_SIZES]
        self.row, self.column = nn.Embedding(GRID, width), nn.Embedding(GRID, width)
        for table in tables:
            nn.init.normal_(table.weight, std=INIT_STD)
        self.fields = nn.ModuleList(tables)
        for places in (self.row, self.column):
            ordinal_(places.weight)

    def forward(self, targets: torch.Tensor, word_embeddings: torch.Tensor) -> torch.Tensor:
        """Cell targets (..., 13) and embeddings (vocabulary, width) -> (cells, width)."""
        cells = targets.reshape(-1, len(FIELD_SIZES)).clamp(min=0).long()
        place = torch.arange(len(cells)) % (GRID * GRID)
        total: torch.Tensor = self.row(place // GRID) + self.column(place % GRID)
        for i, table in enumerate(self.fields):
            total = total + table(cells[:, i])
            if i < len(self.words):
                word = word_embeddings[self.words[i, cells[:, i]]]
                total = total + word * (cells[:, i : i + 1] > 0)
        return total


@dataclass
class Parts:
    """Everything that is trained; `symbols` and `heads` are scaffolding and are not shipped."""

    model: LlavaForConditionalGeneration
    symbols: Symbols
    heads: nn.ModuleDict  # "cells": all fields of a cell; "glyphs": one character, at stride 4

    @classmethod
    def fresh(cls, seed: int = 0) -> Parts:
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
        return cls(model, Symbols(model.config.text_config.hidden_size), heads)

    def symbolise(self, targets: torch.Tensor) -> torch.Tensor:
        """Cell targets (..., 13) -> symbolic cells (cells, width)."""
        embeddings = self.model.model.language_model.embed_tokens.weight
        cells: torch.Tensor = self.symbols(targets, embeddings)
        return cells

    def modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "symbols": self.symbols, "heads": self.heads}


class World:
    """The scenes of a split and what is asked about them, drawn (`store`) or only as data."""

    def __init__(
        self, split: Split, scenes: int, diet: Diet, store: ViewStore | None = None
    ) -> None:
        self.split, self.count, self.store, self.diet = split, scenes, store, diet
        self.maker = RowMaker(build_tokenizer(), diet)
        self._scenes: dict[int, tuple[Scene, list[ViewSpec]]] = {}

    def scene(self, index: int) -> tuple[Scene, list[ViewSpec]]:
        if index not in self._scenes:
            scene = make_scene(self.split, index)
            if self.diet.most_things < MOST_THINGS:
                kept = 2 + index % (self.diet.most_things - 1)
                scene = replace(scene, things=scene.things[:kept])
            self._scenes[index] = (scene, scene_specs(scene))
        return self._scenes[index]

    def rows(self, rng: np.random.Generator, count: int) -> list[Row]:
        """Rows all with one view, or all with two: a batch is padded to its longest."""
        made, pair = [], bool(rng.random() < self.diet.pair_share)
        for index in rng.integers(self.count, size=count):
            scene, specs = self.scene(int(index))
            made.append(self.maker.row(rng, int(index), scene, specs, pair=pair))
        return made

    def glyphs(self, index: int, view: int) -> np.ndarray:
        """Character targets of one view, see `glyph_targets`."""
        scene, specs = self.scene(int(index))
        return glyph_targets(what_is_seen(scene, specs[view]))

    def targets(self, row: Row) -> np.ndarray:
        """(views, GRID, GRID, 13) cell targets of a row."""
        scene, specs = self.scene(row.scene_id)
        return np.stack([cell_targets(what_is_seen(scene, specs[view])) for view in row.views])

    def pixels(self, rows: list[Row]) -> np.ndarray:
        """(all views of all rows, 96, 96, 3) uint8; needs a store."""
        assert self.store is not None
        return np.concatenate([self.store.pixels[row.scene_id, list(row.views)] for row in rows])

    def drawn_targets(self, rows: list[Row]) -> np.ndarray:
        """The cell targets kept with `pixels`, in the same order; needs a store."""
        assert self.store is not None
        return np.concatenate([self.store.targets[row.scene_id, list(row.views)] for row in rows])


def normalise(pixels: np.ndarray, rng: np.random.Generator | None = None) -> torch.Tensor:
    """uint8 (B, 96, 96, 3) -> (B, 3, 96, 96) in about -1..1, as the processor does; with `rng`
    brightness, contrast and a little noise vary."""
    x = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if rng is None:
        return x
    size = (len(x), 1, 1, 1)
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, size)).float()
    shift = torch.from_numpy(rng.uniform(-0.1, 0.1, size)).float()
    return x * gain + shift + 0.02 * torch.randn_like(x)


def dense_loss(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
    """Cross-entropy per field; (B, sum(FIELD_SIZES), 12, 12) against (B, 12, 12, 13).

    Background counts a tenth for colour and shape; the other fields count only on things.
    """
    losses = []
    hits: dict[str, list[torch.Tensor]] = {}
    on_thing = targets[..., 0] > 0
    for i, part in enumerate(torch.split(logits, list(FIELD_SIZES), 1)):
        target = targets[..., i].long()
        if i >= 2:
            target = target.masked_fill(~on_thing, IGNORE)
        if not bool((target != IGNORE).any()):
            continue
        weight = torch.ones(FIELD_SIZES[i])
        if i < 2:
            weight[0] = 0.1
        losses.append(functional.cross_entropy(part, target, weight, ignore_index=IGNORE))
        known = on_thing & (target != IGNORE) & ((target > 0) | (i < 2))
        name = FIELDS[i] if i < len(THING_FIELDS) else "neighbours"
        hits.setdefault(name, []).append((part.argmax(1) == target)[known])
    metrics = {name: torch.cat(right).float().mean().item() for name, right in hits.items()}
    return torch.stack(losses).sum(), metrics


def glyph_loss(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Cross-entropy of (B, chars, 24, 24) against (B, 24, 24); cells without a character count a
    twentieth. Also the share of characters that are right."""
    weight = torch.ones(logits.shape[1])
    weight[0] = 0.05
    loss = functional.cross_entropy(logits, targets, weight, ignore_index=IGNORE)
    return loss, (logits.argmax(1) == targets)[targets > 0].float().mean().item()


def tower_step(
    parts: Parts, world: World, rng: np.random.Generator, batch: int
) -> tuple[torch.Tensor, Metrics]:
    """Dense supervision on random views: what each cell holds, and at stride 4 each character.

    Without the second, characters stay at chance: which of three is where is too much to find.
    """
    assert world.store is not None
    scenes = rng.integers(len(world.store), size=batch)
    views = rng.choice(len(TOWER_VIEWS), size=batch, p=TOWER_VIEWS)
    pixels = normalise(world.store.pixels[scenes, views], rng)
    targets = torch.from_numpy(world.store.targets[scenes, views])
    glyphs = torch.from_numpy(
        np.stack([world.glyphs(*at) for at in zip(scenes, views, strict=True)])
    )
    with torch.autocast("cpu", torch.bfloat16):
        fine, coarse = parts.model.model.vision_tower.scales(pixels)
        fine_logits, logits = parts.heads["glyphs"](fine), parts.heads["cells"](coarse)
    loss, metrics = dense_loss(logits.float(), targets)
    extra, right = glyph_loss(fine_logits.float(), glyphs.long())
    return loss + extra, metrics | {"glyphs": right}


def answer_logits(parts: Parts, packed: Packed, cells: torch.Tensor) -> torch.Tensor:
    """Logits (targets, vocabulary) at every position whose next token is an answer's.

    `cells` (all image cells of the batch, width) take the places of the image tokens.
    """
    language = parts.model.model.language_model
    embeds = language.embed_tokens(packed.input_ids)
    is_cell = packed.slots >= 0
    embeds = embeds.masked_scatter(
        is_cell[..., None], cells[packed.slots[is_cell]].to(embeds.dtype)
    )
    hidden = language(
        inputs_embeds=embeds,
        attention_mask=packed.mask,
        position_ids=packed.position_ids,
        use_cache=False,
    ).last_hidden_state
    logits: torch.Tensor = parts.model.lm_head(hidden.flatten(0, 1)[packed.where])
    return logits


def language_loss(
    parts: Parts, packed: Packed, cells: torch.Tensor
) -> tuple[torch.Tensor, Metrics]:
    """Cross-entropy of the answers, and the share of right tokens by kind of question."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = answer_logits(parts, packed, cells)
    loss = functional.cross_entropy(logits.float(), packed.target)
    return loss, _accuracy(logits.argmax(-1) == packed.target, packed.kind)


def _accuracy(right: torch.Tensor, kind: torch.Tensor) -> Metrics:
    """Share of right answer tokens (teacher forced) by kind of question."""
    return {
        name: right[kind == i].float().mean().item()
        for i, name in enumerate(KINDS)
        if bool((kind == i).any())
    }


def text_step(
    parts: Parts, world: World, rng: np.random.Generator, batch: int
) -> tuple[torch.Tensor, Metrics]:
    """The language model on symbolic scenes: only cells that hold something have a token."""
    rows = world.rows(rng, batch)
    targets = [world.targets(row) for row in rows]
    packed = pack(
        world.maker,
        rows,
        [kept_cells(rng, t, rng.random() < world.diet.thin_share) for t in targets],
    )
    cells = parts.symbolise(torch.from_numpy(np.concatenate(targets)))
    return language_loss(parts, packed, cells)


def image_cells(parts: Parts, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Projected cells (B*144, width), and the tower's dense logits."""
    model = parts.model.model
    with torch.autocast("cpu", torch.bfloat16):
        features = model.vision_tower.scales(pixels)[1]
        logits = parts.heads["cells"](features)
    place = model.vision_tower.row[:, None] + model.vision_tower.column[None]
    hidden = (features.float().permute(0, 2, 3, 1) + place).flatten(0, 2)
    return model.multi_modal_projector(hidden), logits.float()


def align_step(
    parts: Parts, world: World, rng: np.random.Generator, batch: int
) -> tuple[torch.Tensor, Metrics]:
    """Projected cells against symbolic embeddings, as a share of the embeddings' variance."""
    assert world.store is not None
    scenes, views = rng.integers(len(world.store), size=batch), rng.integers(8, size=batch)
    targets = torch.from_numpy(world.store.targets[scenes, views])
    with torch.no_grad():
        wanted = parts.symbolise(targets)
    cells, _ = image_cells(parts, normalise(world.store.pixels[scenes, views], rng))
    clear = targets.flatten(0, 2)[:, 0]
    weight = torch.where(clear > 0, 1.0, 0.1) * (clear != IGNORE)
    error = ((cells - wanted) ** 2).mean(1)
    loss = (error * weight).sum() / weight.sum() / wanted.var(0).mean()
    on_things = error[clear > 0].mean() / wanted[clear > 0].var(0).mean()
    return loss, {"unexplained": on_things.item()}


def joint_step(
    parts: Parts, world: World, rng: np.random.Generator, batch: int
) -> tuple[torch.Tensor, Metrics]:
    """Pixels to answers; dense supervision goes on at a small weight.

    Sparse batches leave out most of the background, which costs as much as the things do.
    """
    rows = world.rows(rng, batch)
    drawn = world.drawn_targets(rows)
    sparse = rng.random() < world.diet.sparse_share
    packed = pack(world.maker, rows, sparse_cells(rng, rows, drawn) if sparse else None)
    cells, dense = image_cells(parts, normalise(world.pixels(rows), rng))
    loss, metrics = language_loss(parts, packed, cells)
    extra, dense_metrics = dense_loss(dense, torch.from_numpy(drawn))
    return loss + 0.15 * extra, metrics | {"char1_cells": dense_metrics["char1"]}


def trained_by(stage: str, parts: Parts) -> Iterator[nn.Parameter]:
    """The parameters that a stage trains."""
    model = parts.model.model
    tower: list[nn.Module] = [model.vision_tower, parts.heads]
    trained: dict[str, list[nn.Module]] = {
        "tower": tower,
        **{key: [model.language_model, parts.symbols] for key in ("bind", "text", "places")},
        "align": [model.multi_modal_projector],
        "joint": [*tower, model.multi_modal_projector, model.language_model],
    }
    for module in trained[stage]:
        yield from module.parameters()
    if stage == "align":
        yield model.vision_tower.row
        yield model.vision_tower.column
