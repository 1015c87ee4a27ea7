"""The router of a user's model: offline pseudo-labels, then a light MLP on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from laser_tools.evaluation.visor.training.conversations import Example
from laser_tools.evaluation.visor.training.examples import IGNORED, Batch, Collator, batches
from laser_tools.evaluation.visor.viable import cheapest
from laser_tools.visor.choice import Choice
from laser_tools.visor.config import Configuration, VisorConfig
from laser_tools.visor.model import VisorForConditionalGeneration
from laser_tools.visor.router import Router
from laser_tools.visor.walk import walk

STEPS, ROWS, LEARNING_RATE = 600, 256, 2e-3
HELD_OUT = 10  # every tenth example


@dataclass(frozen=True)
class Labelled:
    """Examples as the router sees them."""

    features: Tensor  # (n, 2 d)
    scores: Tensor  # (n, configurations): probability of the right answer, cheapest first


@torch.no_grad()
def losses(
    model: VisorForConditionalGeneration, batch: Batch, options: Sequence[Configuration]
) -> Tensor:
    """(B, options): minus the logarithm of the probability of the right answer, all its tokens."""
    labels = batch["labels"][:, 1:]
    given = {name: value for name, value in batch.items() if name != "labels"}
    found = []
    for active in options:
        logits = model(**given, self_layers=active, use_cache=False).logits[:, :-1].float()
        lost = functional.cross_entropy(
            logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
        )
        found.append(lost.sum(dim=1))
    return torch.stack(found, dim=1)


def labelled(
    model: VisorForConditionalGeneration,
    collator: Collator,
    examples: Sequence[Example],
    options: Sequence[Configuration],
    size: int,
    folder: Path,
) -> Labelled:
    """What the router learns from; processes share the batches, and none is made twice."""
    folder.mkdir(parents=True, exist_ok=True)
    state, files = PartialState(), []
    hidden = not state.is_main_process
    model.eval()
    parts = list(batches(examples, size))
    for number, part in enumerate(tqdm(parts, desc="labels", disable=hidden)):
        file = folder / f"{number}.pt"
        files.append(file)
        if number % state.num_processes == state.process_index and not file.exists():
            made = (
                _features(model, collator, part, options),
                _scores(model, collator, part, options),
            )
            torch.save(made, file.with_suffix(".partial"))
            file.with_suffix(".partial").rename(file)
    state.wait_for_everyone()
    features, scores = zip(*(torch.load(file, weights_only=True) for file in files), strict=True)
    return Labelled(torch.cat(features), torch.cat(scores))


def fit_router(config: VisorConfig, found: Labelled) -> tuple[Router, float, float]:
    """The router, how often it takes the right label on examples held out, and the share of the
    likeliest label there."""
    torch.manual_seed(0)
    router, labels = Router(config), cheapest(found.scores)
    unseen = torch.arange(len(labels)) % HELD_OUT == 0
    seen = (~unseen).nonzero()[:, 0]
    optimiser = torch.optim.AdamW(router.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    for _ in range(STEPS):
        picked = seen[torch.randint(len(seen), (ROWS,))]
        loss = functional.cross_entropy(router(found.features[picked]), labels[picked])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        right = router(found.features[unseen]).argmax(dim=-1) == labels[unseen]
    likeliest = labels[unseen].bincount().max() / len(right)
    return router, right.float().mean().item(), likeliest.item()


def on_device(model: VisorForConditionalGeneration, batch: Batch) -> Batch:
    """The batch where the model is."""
    return {name: value.to(model.device) for name, value in batch.items()}


@torch.no_grad()
def _features(
    model: VisorForConditionalGeneration,
    collator: Collator,
    part: Sequence[Example],
    options: Sequence[Configuration],
) -> Tensor:
    """(B, 2 d): what the router will read when it is asked."""
    stream = model.begun(**on_device(model, collator.prompts(part)))
    parting = Choice(options, lambda _: options).parting or 0
    stream = walk(model.stack, stream, range(parting), options[0])
    counted = stream.masks.text_counted(stream.text)
    return Router.features(stream.text, counted).float().cpu()


def _scores(
    model: VisorForConditionalGeneration,
    collator: Collator,
    part: Sequence[Example],
    options: Sequence[Configuration],
) -> Tensor:
    return losses(model, on_device(model, collator(part)), options).neg().exp().cpu()
