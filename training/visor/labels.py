"""What the router learns from: per question, what it reads, and the cheapest configuration that
does (arXiv 2603.23495: offline pseudo-labels)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from laser_tools.evaluation.visor.viable import cheapest
from laser_tools.visor.choice import Choice
from laser_tools.visor.columns import Columns
from laser_tools.visor.config import Configuration
from laser_tools.visor.model import VisorForConditionalGeneration
from laser_tools.visor.router import Router
from laser_tools.visor.walk import walk
from training.pico.packing import Packed
from training.visor.steps import Questions, embedded, logits_of

BATCH = 32  # questions in a pass


@dataclass(frozen=True)
class Labelled:
    """Questions as the router sees them."""

    features: Tensor  # (n, 2 d)
    scores: Tensor  # (n, configurations): probability of the right answer

    @property
    def labels(self) -> Tensor:
        """(n,): the first, cheapest configuration that keeps 99 % of the last one's score."""
        return cheapest(self.scores)


def labelled(
    model: VisorForConditionalGeneration,
    questions: Questions,
    options: Sequence[Configuration],
    n: int,
    folder: Path,
    name: str,
) -> Labelled:
    """Of `n` questions; batches that are in `folder` already are not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    device = next(model.parameters()).device
    found = []
    for number in tqdm(range(-(-n // BATCH)), desc=f"labels {name}", mininterval=30):
        file = folder / f"{name}_{number}.pt"
        if not file.exists():
            rng = np.random.default_rng((9, number))
            packed, pixels = questions.batch(rng, BATCH, device, vary=False)
            torch.save(_one_batch(model, packed, pixels, options), file.with_suffix(".partial"))
            file.with_suffix(".partial").rename(file)
        found.append(torch.load(file, weights_only=True))
    features, scores = zip(*found, strict=True)
    return Labelled(torch.cat(features)[:n], torch.cat(scores)[:n])


@torch.no_grad()
def _one_batch(
    model: VisorForConditionalGeneration,
    packed: Packed,
    pixels: Tensor,
    options: Sequence[Configuration],
) -> tuple[Tensor, Tensor]:
    embeds, visual = embedded(model, packed, pixels)
    said = (logits_of(model, packed, embeds, visual, active) for active in options)
    scores = torch.stack([_probability(logits, packed) for logits in said], dim=1)
    return read_by_router(model, packed, embeds, visual, options).cpu(), scores.cpu()


def _probability(logits: Tensor, packed: Packed) -> Tensor:
    """(B,): of each row's one answer, all of its tokens."""
    said = logits.log_softmax(dim=-1).gather(1, packed.target[:, None])[:, 0]
    row = packed.where // packed.input_ids.shape[1]
    total = said.new_zeros(len(packed.input_ids)).index_add(0, row, said)
    return total.exp()


def read_by_router(
    model: VisorForConditionalGeneration,
    packed: Packed,
    embeds: Tensor,
    visual: Tensor,
    options: Sequence[Configuration],
) -> Tensor:
    """(B, 2 d): the router's features of rows that hold one question each.

    What comes after the prompt is there already, and not counted: nothing before it sees it.
    """
    stream = model.stream(embeds, visual, packed.mask.float(), packed.position_ids, None)
    parting = Choice(options, lambda _: options).parting or 0
    stream = walk(model.stack, stream, range(parting), options[0])
    return Router.features(stream.text, _prompt(packed, stream.columns).to(stream.text))


def _prompt(packed: Packed, columns: Columns) -> Tensor:
    """True (B, T) for text up to the token whose next one is the answer's first."""
    length = packed.input_ids.shape[1]
    row, column = packed.where // length, packed.where % length
    last = torch.full((len(packed.input_ids),), length, device=row.device)
    last = last.scatter_reduce(0, row, column, "amin")
    return (columns.text_at <= last[:, None]) & columns.is_text
