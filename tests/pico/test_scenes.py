"""MicroScenes: seeded, split, in bounds, and every answer true of the scene."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from laser_tools.pico.draw import draw_scene
from laser_tools.pico.items import Item, draw_items, whole_view
from laser_tools.pico.questions import FAR_APART, MAKERS, Question, View
from laser_tools.pico.scenes import Scene, Thing, make_scene
from laser_tools.pico.words import COUNTS, LABEL_CHARS, QUESTION_TYPES

SCENES = [make_scene("train", index) for index in range(150)]


def _asked(kind: str) -> list[tuple[Scene, Question]]:
    made = [
        (scene, MAKERS[kind](np.random.default_rng(i), whole_view(scene)))
        for i, scene in enumerate(SCENES)
    ]
    return [(scene, question) for scene, question in made if question]


def test_same_arguments_give_the_same_pixels() -> None:
    once, again = (np.asarray(draw_scene(make_scene("test", 3))) for _ in range(2))
    assert np.array_equal(once, again)


def test_splits_and_seeds_differ() -> None:
    scenes = [make_scene("train", 3), make_scene("test", 3), make_scene("test", 3, seed=1)]
    assert len({scene.things for scene in scenes}) == 3


@pytest.mark.parametrize("scene", SCENES[:60], ids=str)
def test_things_lie_inside_apart_and_have_unique_names(scene: Scene) -> None:
    width, height = scene.size
    assert 2 <= len(scene.things) <= 9
    assert len({thing.name for thing in scene.things}) == len(scene.things)
    for thing in scene.things:
        assert 0 <= thing.box.x0 < thing.box.x1 <= width
        assert 0 <= thing.box.y0 < thing.box.y1 <= height
        assert set(thing.label) <= set(LABEL_CHARS)
        assert len(thing.label) <= 3
    for a, b in combinations(scene.things, 2):
        assert np.hypot(a.x - b.x, a.y - b.y) > 1.9 * 62 * scene.unit


def test_existence_is_true_of_the_scene() -> None:
    asked = _asked("existence")
    for scene, question in asked:
        there = any(thing.name in question.text for thing in scene.things)
        assert question.answer == ("yes" if there else "no")
        assert bool(question.evidence) == there
    assert {question.detail for _, question in asked} == {
        "present", "random", "popular", "adversarial",
    }  # fmt: skip


def test_attribute_has_one_subject() -> None:
    for scene, question in _asked("attribute"):
        (thing,) = question.evidence
        known = thing.shape if question.detail == "colour" else thing.colour
        alike = [t for t in scene.things if known in (t.shape, t.colour)]
        assert alike == [thing]
        assert question.answer == getattr(thing, question.detail)


def test_reading_asks_for_a_label_that_is_there() -> None:
    for _, question in _asked("reading"):
        (thing,) = question.evidence
        assert thing.name in question.text
        assert question.answer == thing.label


def test_relation_answer_is_the_nearest_thing_on_that_side() -> None:
    axis_and_sign = {
        "left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1),
    }  # fmt: skip
    asked = _asked("relation")
    assert len(asked) > 100
    for scene, question in asked:
        anchor, found = question.evidence
        direction = next(name for name in axis_and_sign if name in question.text)
        axis, sign = axis_and_sign[direction]
        offset = sign * ((found.x, found.y)[axis] - (anchor.x, anchor.y)[axis])
        assert offset > 0
        nearer = [t for t in scene.things if t is not anchor and _distance(t, anchor) < offset]
        assert all(not _on_side(t, anchor, axis, sign) for t in nearer)
        assert question.answer == getattr(found, question.detail)


def _distance(a: Thing, b: Thing) -> float:
    return float(np.hypot(a.x - b.x, a.y - b.y))


def _on_side(thing: Thing, anchor: Thing, axis: int, sign: int) -> bool:
    along = sign * ((thing.x, thing.y)[axis] - (anchor.x, anchor.y)[axis])
    across = abs((thing.y, thing.x)[axis] - (anchor.y, anchor.x)[axis])
    return along > 0 and across < 0.5 * along


def test_counting_counts() -> None:
    for scene, question in _asked("counting"):
        words = {"colour": "colour", "shape": "shape"}
        if question.detail == "all":
            count = len(scene.things)
        else:
            word = getattr(question.evidence[0], words[question.detail])
            assert word in question.text
            count = sum(getattr(t, question.detail) == word for t in scene.things)
        assert question.answer == COUNTS[count]


def test_comparison_is_true_and_too_wide_for_a_half_crop() -> None:
    for scene, question in _asked("comparison"):
        a, b = question.evidence
        axis = 0 if question.detail in ("left of", "right of") else 1
        first, second = (a.x, a.y)[axis], (b.x, b.y)[axis]
        smaller = question.detail in ("left of", "above")
        assert (question.answer == "yes") == ((first < second) == smaller)
        assert abs(first - second) > FAR_APART * scene.size[axis]


def test_cut_things_are_never_asked_about() -> None:
    scene = SCENES[0]
    view = View(scene.things[:1], scene.things[1:], (768.0, 768.0), scene.unit)
    for seed in range(200):
        for maker in MAKERS.values():
            question = maker(np.random.default_rng(seed), view)
            if question:
                assert not set(question.evidence) & set(view.cut)
                assert question.answer != "no" or not any(t.name in question.text for t in view.cut)


def test_items_come_in_turn_and_repeat() -> None:
    items = list(draw_items("validation", 12))
    assert [item.type for item in items] == list(QUESTION_TYPES) * 2
    assert [_key(item) for item in items] == [_key(item) for item in draw_items("validation", 12)]
    for item in items:
        for box in item.evidence:
            assert box.x1 <= item.image.width
            assert box.y1 <= item.image.height


def _key(item: Item) -> tuple[str, str, bytes]:
    return item.question, item.answer, item.image.tobytes()
