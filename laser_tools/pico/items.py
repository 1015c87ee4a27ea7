"""MicroScenes as a benchmark: images with a question, its answer and its true evidence boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from laser_tools.pico.draw import draw_scene
from laser_tools.pico.questions import MAKERS, Question, View
from laser_tools.pico.scenes import Scene, Split, make_scene
from laser_tools.pico.words import QUESTION_TYPES
from laser_tools.schema import Box


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
    made, index = 0, 0
    while n is None or made < n:
        scene = make_scene(split, index, seed)
        question = _ask(scene, types[made % len(types)])
        if question:
            yield _item(scene, question, index)
            made += 1
        index += 1


def _ask(scene: Scene, question_type: str) -> Question | None:
    rng = np.random.default_rng((*scene.seed, 2))
    return MAKERS[question_type](rng, whole_view(scene))


def _item(scene: Scene, question: Question, index: int) -> Item:
    boxes = tuple(thing.box for thing in question.evidence)
    return Item(
        draw_scene(scene),
        question.text,
        question.answer,
        question.type,
        boxes,
        index,
        question.detail,
    )
