"""The steps of training: a batch of a world in, a loss and what to log of it out.

tower   dense supervision: every cell's colour, shape and characters
text    the language model alone, on symbolic scenes (cells as summed embeddings)
align   tower and projector, to write for each cell what the symbolic embedding would say
joint   everything together, on all views and prompts
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.loop import Metrics
from training.pico.build import GRID
from training.pico.cells import CHARS, FIELD_SIZES, FIELDS, IGNORE, LEGIBLE
from training.pico.packing import Packed, pack, sparse_cells, symbolic_cells
from training.pico.parts import Parts, Told
from training.pico.rows import KINDS
from training.pico.views import KINDS as VIEW_KINDS
from training.pico.world import World

TOWER_VIEWS = (0.14, 0.22, 0.14, 0.12, 0.18, 0.08, 0.06, 0.03, 0.03)  # shares of views.KINDS
DENSE_WEIGHT = 0.5  # of the dense loss, beside the answers'
ALIGN_WEIGHT = 8.0  # of the projector's loss, beside the tower's
KEPT_ALIGN_WEIGHT = 4.0  # of the same, beside the answers'
Draw = np.random.Generator
Stepped = tuple[Tensor, Metrics]  # the loss, and what to log


def normalise(pixels: np.ndarray, rng: Draw | None = None) -> Tensor:
    """uint8 (B, 96, 96, 3) -> (B, 3, 96, 96) in about -1..1, as the processor does; with `rng`
    brightness, contrast and a little noise vary."""
    x = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if rng is None:
        return x
    size = (len(x), 1, 1, 1)
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, size)).float()
    shift = torch.from_numpy(rng.uniform(-0.1, 0.1, size)).float()
    return x * gain + shift + 0.02 * torch.randn_like(x)


def dense_loss(logits: Tensor, targets: Tensor) -> Stepped:
    """Cross-entropy per field; (B, sum(FIELD_SIZES), 12, 12) against (B, 12, 12, PLANES).

    Background counts a tenth for colour and shape; characters count only where they are legible.
    """
    losses, metrics = [], {}
    on_thing = targets[..., 0] > 0
    for i, part in enumerate(torch.split(logits, list(FIELD_SIZES), 1)):
        target = targets[..., i].long()
        weight = torch.ones(FIELD_SIZES[i], device=logits.device)
        if CHARS.start <= i < CHARS.stop:
            target = target.masked_fill(~on_thing | (targets[..., LEGIBLE] == 0), IGNORE)
        else:
            weight[0] = 0.1
        losses.append(functional.cross_entropy(part, target, weight, ignore_index=IGNORE))
        metrics[FIELDS[i]] = _mean((part.argmax(1) == target)[target > 0])
    return torch.stack(losses).nansum(), metrics


def glyph_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, float]:
    """Cross-entropy of (B, chars, 24, 24) against (B, 24, 24); cells without a character count a
    twentieth. Also the share of characters that are right."""
    weight = torch.ones(logits.shape[1], device=logits.device)
    weight[0] = 0.05
    loss = functional.cross_entropy(logits, targets, weight, ignore_index=IGNORE)
    return loss, _mean((logits.argmax(1) == targets)[targets > 0])


@dataclass(frozen=True)
class Views:
    """A batch of drawn views: pixels (B, 3, 96, 96), and targets of cells and of characters."""

    pixels: Tensor
    cells: Tensor
    glyphs: Tensor


def draw_batch(parts: Parts, world: World, rng: Draw, batch: int) -> Views:
    """Random views of random scenes."""
    assert world.store is not None
    scenes = rng.integers(len(world.store), size=batch)
    views = rng.choice(len(VIEW_KINDS), size=batch, p=TOWER_VIEWS)
    glyphs = np.stack([world.glyphs(int(s), int(v)) for s, v in zip(scenes, views, strict=True)])
    return Views(
        normalise(world.store.pixels[scenes, views], rng).to(parts.device),
        torch.from_numpy(world.store.targets[scenes, views]).to(parts.device),
        torch.from_numpy(glyphs).long().to(parts.device),
    )


def tower_step(parts: Parts, world: World, rng: Draw, batch: int) -> Stepped:
    """Dense supervision on random views: what each cell holds, and at stride 4 each character.

    Without the second, characters stay at chance: which of three is where is too much to find.
    """
    views = draw_batch(parts, world, rng, batch)
    return told_loss(parts.told(views.pixels), views)


def told_loss(told: Told, views: Views) -> Stepped:
    """The losses of cells and of characters, with the shares that are right."""
    loss, metrics = dense_loss(told.fields.float(), views.cells)
    extra, right = glyph_loss(told.glyphs.float(), views.glyphs)
    return loss + extra, metrics | {"glyphs": right}


def language_loss(parts: Parts, packed: Packed, cells: Tensor, place_weight: float) -> Stepped:
    """Cross-entropy of answers and, at a weight, of places and labels; right answers by kind."""
    with parts.autocast():
        said = parts.answer_logits(packed, cells)
    loss = functional.cross_entropy(said.logits.float(), packed.target)
    where, metrics = place_loss(said.places.float(), packed.places)
    what, read = label_loss(said.labels.float(), packed.labels)
    right = answered_right(said.logits.argmax(-1), packed)
    return loss + place_weight * (where + what), right | metrics | read


def place_loss(told: Tensor, places: Tensor) -> Stepped:
    """Cross-entropy of rows and columns (layers, targets, 4, GRID) against cells (targets, 2), the
    mean over layers; and how often the best layer tells where the things of two hops are.

    An answer alone says little about where to look second; with this, directions are learned.
    """
    wanted = torch.where(
        places[..., None] >= 0, torch.stack([places // GRID, places % GRID], -1), IGNORE
    ).flatten(1)
    spread = wanted.expand(told.shape[:3])
    loss = functional.cross_entropy(told.flatten(0, 2), spread.flatten(), ignore_index=IGNORE)
    two = (places[:, 1] >= 0) & (places[:, 0] != places[:, 1])
    if not two.any():
        return loss, {}
    hits = (told.argmax(-1) == wanted)[:, two].view(len(told), -1, 2, 2).all(-1)
    named, asked = hits.float().mean(1).amax(0).tolist()
    return loss, {"first place": named, "second place": asked}


def label_loss(told: Tensor, labels: Tensor) -> Stepped:
    """Cross-entropy of characters (layers, targets, 2 * MAX_LABEL, characters) against codes
    (targets, 2 * MAX_LABEL), the mean over layers; and how often the best layer tells both labels.

    Whether two labels are the same is learned only where both are at hand.
    """
    known = (labels >= 0).all(1)
    if not known.any():
        return told.sum() * 0.0, {}
    spread = labels.expand(told.shape[:3])
    loss = functional.cross_entropy(told.flatten(0, 2), spread.flatten(), ignore_index=IGNORE)
    hits = (told.argmax(-1) == labels)[:, known].all(-1)
    return loss, {"both labels": hits.float().mean(1).max().item()}


def answered_right(chosen: Tensor, packed: Packed) -> Metrics:
    """Share of answers all of whose tokens are right, by kind of question.

    An answer that is right so, token by token behind the right ones, is what greedy decoding says.
    """
    _, at, counts = torch.unique_consecutive(
        packed.question, return_inverse=True, return_counts=True
    )
    wrong = torch.zeros(len(counts), device=at.device).index_add(
        0, at, (chosen != packed.target).float()
    )
    kind = torch.zeros(len(counts), dtype=torch.long, device=at.device).index_copy(
        0, at, packed.kind
    )
    return {name: _mean(wrong[kind == i] == 0) for i, name in enumerate(KINDS) if (kind == i).any()}


def text_step(parts: Parts, world: World, rng: Draw, batch: int) -> Stepped:
    """The language model on symbolic scenes: only cells that hold something have a token."""
    rows = world.rows(rng, batch)
    targets = [world.targets(row) for row in rows]
    keep = [symbolic_cells(rng, t, rng.random() < world.diet.thin_share) for t in targets]
    packed = pack(world.maker, rows, keep).to(parts.device)
    cells = parts.symbolise(torch.from_numpy(np.concatenate(targets)).to(parts.device))
    return language_loss(parts, packed, cells, world.diet.place_weight)


def align_step(parts: Parts, world: World, rng: Draw, batch: int) -> Stepped:
    """Projected cells against symbolic embeddings, as a share of the embeddings' variance; the
    tower goes on learning what cells hold, and now so that the projector can say it."""
    views = draw_batch(parts, world, rng, batch)
    told = parts.told(views.pixels)
    aligned, unexplained = align_loss(parts, parts.projected(told), views.cells)
    loss, metrics = told_loss(told, views)
    return loss + ALIGN_WEIGHT * aligned, metrics | unexplained


def align_loss(parts: Parts, projected: Tensor, targets: Tensor) -> Stepped:
    """Projected cells (B*144, width) against the symbolic ones of targets (B, 12, 12, PLANES)."""
    with torch.no_grad():
        wanted = parts.symbolise(targets)
    colour = targets[..., 0].flatten()
    weight = torch.where(colour > 0, 1.0, 0.1) * (colour != IGNORE)
    error = ((projected - wanted) ** 2).mean(1)
    loss = (error * weight).sum() / weight.sum() / wanted.var(0).mean()
    unexplained = error[colour > 0].mean() / wanted[colour > 0].var(0).mean()
    return loss, {"unexplained": unexplained.item()}


def joint_step(parts: Parts, world: World, rng: Draw, batch: int) -> Stepped:
    """Pixels to answers; what tower and projector were taught goes on at a smaller weight.

    Sparse batches leave out most of the background, which costs as much as the things do. Some
    batches are symbolic, as in `twins`: without them what was learned there was forgotten.
    """
    if world.recalled and rng.random() < world.diet.recalled_share:
        return text_step(parts, world.recalled, rng, batch)
    rows = world.rows(rng, batch)
    drawn = world.drawn_targets(rows)
    sparse = rng.random() < world.diet.sparse_share
    packed = pack(world.maker, rows, sparse_cells(rng, rows, drawn) if sparse else None)
    told = parts.told(normalise(world.pixels(rows), rng).to(parts.device))
    cells, targets = parts.projected(told), torch.from_numpy(drawn).to(parts.device)
    loss, metrics = language_loss(parts, packed.to(parts.device), cells, world.diet.place_weight)
    held, dense_metrics = dense_loss(told.fields.float(), targets)
    aligned, unexplained = align_loss(parts, cells, targets)
    loss = loss + DENSE_WEIGHT * held + KEPT_ALIGN_WEIGHT * aligned
    return loss, metrics | unexplained | {"char1_cells": dense_metrics["char1"]}


def _mean(right: Tensor) -> float:
    return right.float().mean().item() if len(right) else float("nan")
