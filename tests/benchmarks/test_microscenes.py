"""MicroScenes: seeded, split, in bounds, drawn where it says, and every answer true."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from laser_tools.evaluation.benchmarks.microscenes import drawing, foreign, items, pictures, words
from laser_tools.evaluation.benchmarks.microscenes.benchmark import ASKED, MicroScenes
from laser_tools.evaluation.benchmarks.microscenes.items import QUESTION_TYPES, Item, asked
from laser_tools.evaluation.benchmarks.microscenes.scenes import Scene, Split, make_scene
from laser_tools.evaluation.benchmarks.microscenes.shifts import SHIFTS
from tests.benchmarks import reader

ITEMS = 120  # of each type
SCENES = [make_scene("train", index) for index in range(200)]


@pytest.mark.parametrize("kind", QUESTION_TYPES)
def test_answers_are_what_an_independent_reading_of_the_scene_says(kind: str) -> None:
    for scene, question in asked("validation", ITEMS, types=(kind,)):
        assert reader.answer(scene, question.text) == question.answer, (question, scene.things)


def test_every_kind_of_question_without_an_answer_is_asked() -> None:
    """An absent thing, nothing beside it, zero, several that fit, and words from outside."""
    details = {question.detail for _, question in asked("test", 500, types=("none",))}
    kinds = {"absent", "beside", "zero", "ambiguous", "two", "foreign", "off topic", "gibberish"}
    assert details >= kinds
    assert any(detail.endswith(", picture") for detail in details)


@pytest.mark.parametrize("kind", ["existence", "comparison", "same label"])
def test_yes_and_no_are_about_as_often_right(kind: str) -> None:
    answers = [question.answer for _, question in asked("test", ITEMS, types=(kind,))]
    assert 0.4 < answers.count("yes") / len(answers) < 0.6


def test_same_labels_are_far_apart_and_differ_in_one_character_if_at_all() -> None:
    for scene, question in asked("test", ITEMS, types=("same label",)):
        a, b = question.evidence
        assert len(a.label) == len(b.label)
        assert sum(x != y for x, y in zip(a.label, b.label, strict=True)) <= 1
        apart = abs(a.x - b.x) / scene.size[0], abs(a.y - b.y) / scene.size[1]
        assert max(apart) > 0.5  # so that no crop of half the sides holds both


def test_habits_hold_in_nine_of_ten_and_are_asked_where_broken() -> None:
    habitual = [s for s in SCENES if s.style == "habit"]
    assert 0.3 < len(habitual) / len(SCENES) < 0.5
    told = [words.HABITS[t.colour] == t.label for scene in habitual for t in scene.things]
    assert 0.85 < np.mean(told) < 0.95
    for _, question in asked("test", ITEMS, types=("habit",)):
        (thing,) = question.evidence
        assert question.answer == thing.label != words.HABITS[thing.colour]


def test_same_arguments_give_the_same_pixels() -> None:
    for index in range(6):
        once, again = (np.asarray(drawing.draw_scene(make_scene("test", index))) for _ in range(2))
        assert np.array_equal(once, again)


def test_no_scene_of_one_split_or_seed_is_in_another() -> None:
    keys: list[tuple[Split, int]] = [("train", 0), ("validation", 0), ("test", 0), ("test", 1)]
    sets = [{make_scene(split, i, seed).things for i in range(200)} - {()} for split, seed in keys]
    for a, b in combinations(sets, 2):
        assert not a & b


def test_words_from_outside_differ_between_splits_and_are_not_of_the_world() -> None:
    for table in (foreign.FOREIGN, foreign.OFF_TOPIC):
        for a, b in combinations(table.values(), 2):
            assert not set(a) & set(b)
    names = {*reader.COLOURS, *reader.SHAPES}
    assert not names & {noun for nouns in foreign.FOREIGN.values() for noun in nouns}


@pytest.mark.parametrize("scene", SCENES[:60], ids=lambda scene: str(scene.seed))
def test_things_lie_inside_apart_and_have_unique_names(scene: Scene) -> None:
    width, height = scene.size
    assert len({thing.name for thing in scene.things}) == len(scene.things)
    for thing in scene.things:
        assert 0 <= thing.box.x0 < thing.box.x1 <= width
        assert 0 <= thing.box.y0 < thing.box.y1 <= height
    for a, b in combinations(scene.things, 2):
        assert np.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius


@pytest.mark.parametrize("index", range(0, 40, 4))
def test_a_box_holds_all_of_its_thing_and_is_not_much_larger(index: int) -> None:
    """The pixels that change when the thing is left out."""
    scene = make_scene("validation", index)
    if not scene.things:
        return
    last = scene.things[-1]
    x0, y0, x1, y1 = _changed(scene, replace(scene, things=scene.things[:-1]))
    box = last.box
    assert box.x0 <= x0 < x1 <= box.x1
    assert box.y0 <= y0 < y1 <= box.y1
    assert (x1 - x0) * (y1 - y0) > 0.4 * (box.x1 - box.x0) * (box.y1 - box.y0)


def _changed(scene: Scene, other: Scene) -> tuple[int, int, int, int]:
    """The bounding box of the pixels that differ in daylight, before blur and JPEG."""
    images = [np.asarray(drawing.unlit(np.random.default_rng(3), s), int) for s in (scene, other)]
    rows, columns = np.nonzero(abs(images[0] - images[1]).max(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_each_split_has_a_photograph_of_its_own() -> None:
    photos = [pictures.photograph(split).tobytes() for split in ("train", "validation", "test")]
    assert len(set(photos)) == len(photos)


def test_items_come_in_turn_and_repeat() -> None:
    made = list(items.draw_items("validation", len(QUESTION_TYPES)))
    assert [item.type for item in made] == list(QUESTION_TYPES)
    again = list(items.draw_items("validation", len(QUESTION_TYPES)))
    assert [_key(item) for item in made] == [_key(item) for item in again]


def _key(item: Item) -> tuple[str, str, bytes]:
    return item.question, item.answer, item.image.tobytes()


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_changes_the_pixels_and_nothing_else(shift: str) -> None:
    plain = list(MicroScenes().items("validation", 3))
    for before, after in zip(plain, MicroScenes(shift=shift).items("validation", 3), strict=True):
        assert (after.question, after.references) == (before.question, before.references)
        assert (after.evidence, after.group) == (before.evidence, before.group)
        old, new = (np.asarray(item.image().pixels).astype(int) for item in (before, after))
        assert old.shape == new.shape
        assert 0.2 < abs(old - new).mean() < 110


def test_a_bench_asks_every_type_that_has_a_question() -> None:
    groups = [item.group for item in MicroScenes().items("test", 2 * len(ASKED))]
    assert groups == [*ASKED, *ASKED]
    assert all(item.question for item in MicroScenes().items("test", len(ASKED)))
