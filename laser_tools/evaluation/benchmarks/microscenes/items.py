"""MicroScenes as a benchmark: images with a question, its answer and its true evidence boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from laser_tools.evaluation.benchmarks.microscenes.asking import Question, View
from laser_tools.evaluation.benchmarks.microscenes.drawing import draw_scene
from laser_tools.evaluation.benchmarks.microscenes.questions import ANSWERABLE, largest
from laser_tools.evaluation.benchmarks.microscenes.scenes import Scene, Split, make_scene
from laser_tools.evaluation.benchmarks.microscenes.unanswerable import none
from laser_tools.schema import Box

QUESTION_TYPES = (*ANSWERABLE, "largest", "none")


@dataclass(frozen=True)
class Item:
    """One benchmark question. `evidence` is empty when the right answer is that nothing is there;
    boxes are in pixels of `image`."""

    image: Image.Image
    question: str
    answer: str
    type: str
    evidence: tuple[Box, ...]
    scene_id: int
    detail: str  # e.g. which kind of negative


def whole_view(scene: Scene) -> View:
    """Everything in the scene, nothing cut."""
    size = (float(scene.size[0]), float(scene.size[1]))
    return View(scene.things, (), size, scene.unit)


def draw_items(
    split: Split, n: int | None, seed: int = 0, types: Sequence[str] = QUESTION_TYPES
) -> Iterator[Item]:
    """`n` items (None: without end), one per scene, question types in turn.

    The same arguments give the same items.
    """
    for scene, question in asked(split, n, seed, types):
        boxes = tuple(thing.box for thing in question.evidence)
        yield Item(
            draw_scene(scene),
            question.text,
            question.answer,
            question.type,
            boxes,
            scene.seed[2],
            question.detail,
        )


def asked(
    split: Split, n: int | None, seed: int = 0, types: Sequence[str] = QUESTION_TYPES
) -> Iterator[tuple[Scene, Question]]:
    """The scenes and questions of `draw_items`, without pixels."""
    made, index = 0, 0
    while n is None or made < n:
        scene = make_scene(split, index, seed)
        question = _ask(split, scene, types[made % len(types)])
        if question:
            yield scene, question
            made += 1
        index += 1


def _ask(split: Split, scene: Scene, question_type: str) -> Question | None:
    makers = {**ANSWERABLE, "largest": largest, "none": none(split)}
    rng = np.random.default_rng((*scene.seed, 2))
    return makers[question_type](rng, whole_view(scene))
