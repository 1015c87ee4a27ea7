"""MicroScenes 2: seeded, split, in bounds, drawn where it says, and every answer true."""

from __future__ import annotations

import pytest

from laser_tools.evaluation.benchmarks.microscenes.items import QUESTION_TYPES, asked
from laser_tools.evaluation.benchmarks.microscenes.scenes import make_scene
from tests.benchmarks.reader import answer

ITEMS = 120  # of each type
SCENES = [make_scene("train", index) for index in range(200)]


@pytest.mark.parametrize("kind", QUESTION_TYPES)
def test_answers_are_what_an_independent_reading_of_the_scene_says(kind: str) -> None:
    for scene, question in asked("validation", ITEMS, types=(kind,)):
        assert answer(scene, question.text) == question.answer, (question, scene.things)
