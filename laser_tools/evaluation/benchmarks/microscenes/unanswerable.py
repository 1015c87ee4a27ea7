"""Questions that the picture does not answer: "nothing", "zero" or "unclear" is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from laser_tools.evaluation.benchmarks.microscenes.asking import (
    NEGATIVES,
    Maker,
    Question,
    View,
    absent_name,
    along_and_across,
    phrase,
)
from laser_tools.evaluation.benchmarks.microscenes.foreign import FOREIGN, OFF_TOPIC
from laser_tools.evaluation.benchmarks.microscenes.scenes import Split, Thing
from laser_tools.evaluation.benchmarks.microscenes.words import (
    COLOURS,
    COUNTS,
    DIRECTIONS,
    NOTHING,
    SHAPES,
    UNCLEAR,
    WAYS,
    plural,
)

Draw = np.random.Generator
BESIDE_CLEAR = 110.0  # px of a 768 px scene: nothing is this near the line in that direction, or
# within 45 degrees of it


def absent(rng: Draw, view: View) -> Question | None:
    """Ask about a thing that is not there."""
    name = absent_name(rng, view, NEGATIVES[rng.integers(len(NEGATIVES))])
    return _nothing("absent", _about(rng, name)) if name else None


def absent_kind(rng: Draw, view: View) -> Question | None:
    """Ask for the colour of a shape, or the shape of a colour, that nothing has."""
    there = (*view.things, *view.cut)
    shapes = sorted(set(SHAPES) - {thing.shape for thing in there})
    colours = sorted(set(COLOURS) - {thing.colour for thing in there})
    asks = [phrase(rng, "colour", shape=shape) for shape in shapes]
    asks += [phrase(rng, "shape", colour=colour) for colour in colours]
    return _nothing("absent", asks[rng.integers(len(asks))]) if asks else None


def beside(rng: Draw, view: View) -> Question | None:
    """Ask what is on a side of a thing where nothing is, up to the border."""
    free = [
        (thing, direction)
        for thing in view.things
        for direction in DIRECTIONS
        if not any(_on_side(thing, other, direction, view) for other in (*view.things, *view.cut))
    ]
    if not free:
        return None
    thing, direction = free[rng.integers(len(free))]
    kind = ("neighbour reading", "relation_colour", "relation_shape")[rng.integers(3)]
    text = phrase(rng, kind, direction=direction, thing=thing.name)
    return Question("none", text, NOTHING, (thing,), "beside")


def _on_side(anchor: Thing, other: Thing, direction: str, view: View) -> bool:
    along, across = along_and_across(anchor, other, direction)
    return along > 0 and abs(across) < max(BESIDE_CLEAR * view.unit, along)


def zero(rng: Draw, view: View) -> Question | None:
    """Ask for the number of a colour or shape that the scene does not have."""
    there = (*view.things, *view.cut)
    kinds = [plural(shape) for shape in SHAPES if shape not in {t.shape for t in there}]
    kinds += [f"{colour} shapes" for colour in COLOURS if colour not in {t.colour for t in there}]
    if not there:
        kinds.append("shapes")
    if not kinds:
        return None
    text = phrase(rng, "counting", things=kinds[rng.integers(len(kinds))])
    return Question("none", text, COUNTS[0], (), "zero")


def ambiguous(rng: Draw, view: View) -> Question | None:
    """Ask for the colour, shape or label of "the star" where there are several, all different."""
    by_shape = rng.random() < 0.5
    groups: dict[str, list[Thing]] = {}
    for thing in view.things:
        groups.setdefault(thing.shape if by_shape else thing.colour, []).append(thing)
    several = sorted(word for word, things in groups.items() if len(things) > 1)
    if not several:
        return None
    word = several[rng.integers(len(several))]
    labels = {thing.label for thing in groups[word]}
    if len(labels) > 1 and "" not in labels and rng.random() < 0.5:
        text = phrase(rng, "reading", thing=word if by_shape else f"{word} object")
    else:
        text = phrase(rng, "colour", shape=word) if by_shape else phrase(rng, "shape", colour=word)
    return Question("none", text, UNCLEAR, tuple(groups[word]), "ambiguous")


def two(rng: Draw, view: View) -> Question | None:
    """Ask to compare two things of which one is not there, or neither."""
    name = absent_name(rng, view, NEGATIVES[rng.integers(len(NEGATIVES))])
    other = absent_name(rng, view, "random")
    if view.things and rng.random() < 0.8:
        other = view.things[rng.integers(len(view.things))].name
    if not name or not other or name == other:
        return None
    names = (name, other) if rng.random() < 0.5 else (other, name)
    direction = DIRECTIONS[rng.integers(4)]
    words = {"thing": names[0], "other": names[1], "direction": direction, "way": WAYS[direction]}
    kind = "comparison" if rng.random() < 0.5 else "same label"
    return Question("none", phrase(rng, kind, **words), UNCLEAR, (), "two")


def foreign(rng: Draw, split: Split) -> Question:
    """Ask about a thing of another world."""
    noun = FOREIGN[split][rng.integers(len(FOREIGN[split]))]
    draw = rng.random()
    if draw < 0.2:
        return Question(
            "none", phrase(rng, "counting", things=plural(noun)), COUNTS[0], (), "foreign"
        )
    if draw < 0.4:
        return _nothing("foreign", phrase(rng, "colour", shape=noun))
    colour = f"{list(COLOURS)[rng.integers(len(COLOURS))]} " if draw < 0.6 else ""
    return _nothing("foreign", _about(rng, colour + noun))


def off_topic(rng: Draw, split: Split) -> Question:
    """A question that is not about a picture."""
    text = OFF_TOPIC[split][rng.integers(len(OFF_TOPIC[split]))]
    return Question("none", text, UNCLEAR, (), "off topic")


def gibberish(rng: Draw) -> Question:
    """Letters without a meaning."""
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, rng.integers(2, 8))) for _ in range(rng.integers(1, 5))]
    text = " ".join(words) + ("?" if rng.random() < 0.5 else "")
    return Question("none", text, UNCLEAR, (), "gibberish")


def _about(rng: Draw, name: str) -> str:
    """A question about one named thing."""
    kinds = ("reading", "reading_number", "location", "neighbour reading", "relation_colour",
             "relation_shape")  # fmt: skip
    direction = DIRECTIONS[rng.integers(4)]
    return phrase(rng, kinds[rng.integers(len(kinds))], thing=name, direction=direction)


def _nothing(detail: str, text: str) -> Question:
    return Question("none", text, NOTHING, (), detail)


def none(split: Split) -> Maker:
    """A maker of all these questions, each as often; `split` chooses the words from outside."""
    kinds: tuple[Callable[[Draw, View], Question | None], ...] = (
        absent,
        absent_kind,
        beside,
        zero,
        ambiguous,
        two,
        lambda rng, _: foreign(rng, split),
        lambda rng, _: off_topic(rng, split) if rng.random() < 0.5 else gibberish(rng),
    )

    def made(rng: Draw, view: View) -> Question | None:
        question = kinds[rng.integers(len(kinds))](rng, view)
        if question and not (view.things or view.cut):
            return replace(question, detail=f"{question.detail}, picture")
        return question

    return made
