"""MicroScenes as a benchmark, as it is or under a shift."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast, get_args

import numpy as np

from laser_tools.errors import InvalidRequest
from laser_tools.evaluation.benchmarks.base import Item, Scored, exact, mean_score
from laser_tools.evaluation.benchmarks.microscenes import items as scenes
from laser_tools.evaluation.benchmarks.microscenes.items import QUESTION_TYPES, draw_items
from laser_tools.evaluation.benchmarks.microscenes.scenes import Split
from laser_tools.evaluation.benchmarks.microscenes.shifts import SHIFTS
from laser_tools.evaluation.benchmarks.pictures import HeldPicture
from laser_tools.images.upright import UprightImage
from laser_tools.schema import GroundedAnswer

ASKED = tuple(kind for kind in QUESTION_TYPES if kind != "largest")
"""The types in turn. *Largest* is a caption without a question, so nobody can ask it."""


@dataclass(frozen=True)
class MicroScenes:
    """Drawn scenes of coloured, labelled shapes, with exact evidence boxes.

    `shift` names a change of the pixels that no model of this world was trained with.
    """

    types: tuple[str, ...] = ASKED
    shift: str | None = None
    splits = ("test", "validation", "train")
    metric = "exact match"
    instruction = ""

    @property
    def name(self) -> str:
        return "microscenes" if self.shift is None else f"microscenes/{self.shift}"

    def items(self, split: str, n: int | None = None, seed: int = 0) -> Iterator[Item]:
        """Without `n` the items never end. Raises InvalidRequest for a split that is not there."""
        if split not in get_args(Split):
            raise InvalidRequest(f"The splits are {', '.join(get_args(Split))}; not '{split}'.")
        drawn = draw_items(cast("Split", split), n, seed, self.types)
        return (self._item(split, number, each) for number, each in enumerate(drawn))

    def score(self, item: Item, answer: GroundedAnswer) -> float:
        return exact(item, answer)

    def summary(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        return mean_score(scored)

    def _item(self, split: str, number: int, drawn: scenes.Item) -> Item:
        pixels = drawn.image
        if self.shift is not None:
            pixels = SHIFTS[self.shift](np.random.default_rng((drawn.scene_id, 5)), pixels)
        image = UprightImage.of(pixels)
        return Item(
            id=f"{split}-{number}",
            image=HeldPicture(image),
            question=drawn.question,
            references=(drawn.answer,),
            group=drawn.type,
            detail=drawn.detail,
            evidence=drawn.evidence,
        )
