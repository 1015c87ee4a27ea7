"""Which configurations are worth having: scored on the model that was trained with all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor

from laser_tools.evaluation.visor.flops import Size, flops
from laser_tools.visor.config import Configuration, VisorConfig

KEEPS = 0.99  # of the score of the best-equipped configuration (arXiv 2603.23495)
WORST = 0.5  # nats of loss above the best configuration's, beyond which none is viable
TYPICAL = Size(n_visual=144, n_text=16)  # of a question to pico; the order is what counts


def subsets(layers: Sequence[int]) -> list[Configuration]:
    """All configurations of these layers."""
    return [chosen for n in range(len(layers) + 1) for chosen in combinations(sorted(layers), n)]


def by_cost(config: VisorConfig, options: Sequence[Configuration]) -> list[Configuration]:
    """The cheapest first."""
    cost = {
        active: flops(config.text_config, TYPICAL, config.cross_layers, active)
        for active in options
    }
    return sorted(options, key=lambda active: (cost[active], active))


def viable(
    ordered: Sequence[Configuration], scores: Mapping[Configuration, float], worst: float
) -> list[Configuration]:
    """Of configurations, cheapest first, those that are better than all before them.

    `scores` are losses. What loses more than `worst` against the best is left out: no question is
    so easy that it should be answered like that.
    """
    limit, kept = min(scores.values()) + worst, list[Configuration]()
    for active in ordered:
        better = not kept or scores[active] < scores[kept[-1]]
        if better and scores[active] <= limit:
            kept.append(active)
    return kept


def kept_viable(
    file: Path,
    config: VisorConfig,
    layers: Sequence[int],
    score: Callable[[Sequence[Configuration]], Sequence[float]],
) -> list[Configuration]:
    """The viable configurations of `layers`, cheapest first; kept in `file`, and not scored again.

    `score` gives each configuration's loss, in nats.
    """
    if not file.exists():
        ordered = by_cost(config, subsets(layers))
        scores = dict(zip(ordered, score(ordered), strict=True))
        kept = viable(ordered, scores, WORST)
        losses = {str(list(active)): loss for active, loss in scores.items()}
        file.write_text(json.dumps({"viable": kept, "losses": losses}, indent=2) + "\n")
    return [tuple(active) for active in json.loads(file.read_text())["viable"]]


def cheapest(scores: Tensor) -> Tensor:
    """Per row of (n, configurations), cheapest first, the first one that keeps 99 % of the last's.

    `scores` are probabilities of the right answer; what is returned (n,) is what a router learns.
    """
    enough = scores >= KEEPS * scores[:, -1:]
    return enough.to(torch.uint8).argmax(dim=1)
