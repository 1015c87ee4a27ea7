"""The best fixed layer of a model: chosen on questions of another split than the figures are of."""

from __future__ import annotations

from collections.abc import Callable

from laser_tools.errors import InvalidRequest
from laser_tools.evaluation.bench import Subject, best_of, score_layers
from laser_tools.evaluation.benchmarks.base import Benchmark
from laser_tools.options import LaserOptions

BEST_LAYER = "best-layer"  # LASER with that layer in place of VAQ's choice
LAYER_QUESTIONS = 480  # at most, to choose it
SPLITS = ("validation", "val", "train")  # where it may be chosen, the first that is not asked


def choosing_split(mine: Benchmark, asked: str) -> str:
    """The split to choose on. Raises InvalidRequest for a set that has none but what is asked."""
    others = [split for split in SPLITS if split in mine.splits and split != asked]
    if not others:
        raise InvalidRequest(
            f"{mine.name} has no other split on which {BEST_LAYER} could be chosen: name a layer "
            "(--layer)."
        )
    return others[0]


def chosen_layer(
    subject: Subject,
    mine: Benchmark,
    asked: str,
    seed: int,
    options: LaserOptions,
    progress: Callable[[int], object] = lambda done: None,
) -> int:
    """The layer that is right most often there. Raises InvalidRequest as `choosing_split` does."""
    items = mine.items(choosing_split(mine, asked), LAYER_QUESTIONS, seed)
    return best_of(score_layers(subject, items, options, progress, mine.score))


def check_layer(subject: Subject, layer: int) -> int:
    """The layer. Raises InvalidRequest if the model has none of that number."""
    if not 0 <= layer < subject.n_layers:
        raise InvalidRequest(f"The model has layers 0 to {subject.n_layers - 1}; not {layer}.")
    return layer
