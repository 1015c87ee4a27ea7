"""The questions of MicroScenes that have an answer in the picture; `unanswerable` has the others.

A maker takes what can be seen and returns a question, or None where there is no subject for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np

from laser_tools.evaluation.benchmarks.microscenes.asking import (
    NEGATIVES,
    Maker,
    Question,
    View,
    absent_name,
    along_and_across,
    neighbour,
    phrase,
    pick,
    short_name,
)
from laser_tools.evaluation.benchmarks.microscenes.scenes import (
    FAR_APART,
    Lettering,
    Thing,
    far_apart,
)
from laser_tools.evaluation.benchmarks.microscenes.words import (
    COUNTS,
    DIRECTIONS,
    HABITS,
    NOTHING,
    WAYS,
    plural,
    with_article,
)

SHORT_NAMES = 0.25  # share of readings that say "the star", where there is only one
SAME_SHARE = 0.55  # attempts at "same label": fewer scenes have a pair with one label
LARGEST_BY = 1.1  # the largest thing's radius as a multiple of the next one's


def existence(rng: np.random.Generator, view: View) -> Question | None:
    """Half present, half absent; absent ones in POPE's three kinds."""
    if rng.random() < 0.5:
        thing = pick(rng, view.things)
        if thing is None:
            return None
        text = phrase(rng, "existence", a_thing=with_article(thing.name))
        return Question("existence", text, "yes", (thing,), "present")
    kind = NEGATIVES[rng.integers(len(NEGATIVES))]
    name = absent_name(rng, view, kind)
    if name is None:
        return None
    return Question(
        "existence", phrase(rng, "existence", a_thing=with_article(name)), "no", (), kind
    )


def attribute(rng: np.random.Generator, view: View) -> Question | None:
    """The colour of the only star, or the shape of the only red thing."""
    by_shape = rng.random() < 0.5
    everything = (*view.things, *view.cut)
    keys = Counter(thing.shape if by_shape else thing.colour for thing in everything)
    unique = [t for t in view.things if keys[t.shape if by_shape else t.colour] == 1]
    thing = pick(rng, unique)
    if thing is None:
        return None
    if by_shape:
        text = phrase(rng, "colour", shape=thing.shape)
        return Question("attribute", text, thing.colour, (thing,), "colour")
    text = phrase(rng, "shape", colour=thing.colour)
    return Question("attribute", text, thing.shape, (thing,), "shape")


def labelled(view: View, lettering: Lettering) -> list[Thing]:
    """The things of a view that carry a label of one kind."""
    return [t for t in view.things if t.label and t.lettering == lettering]


def read(
    rng: np.random.Generator, view: View, things: Sequence[Thing], kind: str
) -> Question | None:
    """Ask for the label of one of `things`."""
    thing = pick(rng, things)
    if thing is None:
        return None
    name = short_name(rng, thing, view) if rng.random() < SHORT_NAMES else thing.name
    asked = "reading_number" if thing.label.isdigit() and rng.random() < 0.4 else "reading"
    return Question(kind, phrase(rng, asked, thing=name), thing.label, (thing,), thing.label)


def reading(rng: np.random.Generator, view: View) -> Question | None:
    """Ask for the label of a thing, of regular size."""
    return read(rng, view, labelled(view, "regular"), "reading")


def tiny(rng: np.random.Generator, view: View) -> Question | None:
    """Ask for the label of a thing, of tiny size."""
    return read(rng, view, labelled(view, "tiny"), "tiny")


def habit(rng: np.random.Generator, view: View) -> Question | None:
    """Ask for a label that is not the one its thing's colour carries in nine cases of ten."""
    broken = [t for t in labelled(view, "habit") if t.label != HABITS[t.colour]]
    return read(rng, view, broken, "habit")


def relation(rng: np.random.Generator, view: View) -> Question | None:
    """Two hops: find a thing, then its neighbour, and tell the neighbour's colour or shape."""
    hop = _hop(rng, view, view.things)
    if hop is None:
        return None
    anchor, direction, found = hop
    asks = "colour" if rng.random() < 0.5 else "shape"
    text = phrase(rng, f"relation_{asks}", direction=direction, thing=anchor.name)
    return Question("relation", text, getattr(found, asks), (anchor, found), asks)


def neighbour_reading(rng: np.random.Generator, view: View) -> Question | None:
    """Two hops: find a thing, then its neighbour, and read that."""
    return read_neighbour(rng, view, labelled(view, "regular"))


def read_neighbour(
    rng: np.random.Generator, view: View, wanted: Sequence[Thing]
) -> Question | None:
    """Ask for the label of one of `wanted` by what is beside it."""
    hop = _hop(rng, view, wanted)
    if hop is None:
        return None
    anchor, direction, found = hop
    text = phrase(rng, "neighbour reading", direction=direction, thing=anchor.name)
    return Question("neighbour reading", text, found.label, (anchor, found), direction)


def _hop(
    rng: np.random.Generator, view: View, wanted: Sequence[Thing]
) -> tuple[Thing, str, Thing] | None:
    """A thing, a direction, and its one neighbour there, which is one of `wanted`."""
    for i in rng.permutation(len(DIRECTIONS) * len(view.things)):
        anchor, direction = view.things[i // len(DIRECTIONS)], DIRECTIONS[i % len(DIRECTIONS)]
        found = neighbour(anchor, direction, view)
        if found and found in wanted:
            return anchor, direction, found
    return None


def counting(rng: np.random.Generator, view: View) -> Question | None:
    """Ask for the number of a colour, of a shape, or in all; None if a cut thing could count."""
    kind = ("colour", "shape", "all")[rng.integers(3)]
    counted, noun = view.things, "shapes"
    cut: Sequence[Thing] = view.cut
    if kind != "all":
        words = sorted({getattr(thing, kind) for thing in view.things})
        if not words:
            return None
        word = words[rng.integers(len(words))]
        counted, cut = (
            tuple(t for t in things if getattr(t, kind) == word) for things in (counted, cut)
        )
        noun = plural(word) if kind == "shape" else f"{word} shapes"
    if cut or not counted:
        return None
    text = phrase(rng, "counting", things=noun)
    return Question("counting", text, COUNTS[len(counted)], counted, kind)


def comparison(rng: np.random.Generator, view: View) -> Question | None:
    """Ask whether one of two far-apart things is further left, right, up or down than the other."""
    pairs = [
        (a, b, axis)
        for a in view.things
        for b in view.things
        for axis in (0, 1)
        if abs((a.x, a.y)[axis] - (b.x, b.y)[axis]) > FAR_APART * view.size[axis]
    ]
    if not pairs:
        return None
    a, b, axis = pairs[rng.integers(len(pairs))]
    direction = DIRECTIONS[2 * axis + rng.integers(2)]
    text = phrase(
        rng, "comparison", thing=a.name, other=b.name, direction=direction, way=WAYS[direction]
    )
    along, _ = along_and_across(b, a, direction)
    return Question("comparison", text, "yes" if along > 0 else "no", (a, b), direction)


def same_label(rng: np.random.Generator, view: View) -> Question | None:
    """Do two far-apart things say the same? Equally long labels, one character apart if not."""
    pairs = permutations(labelled(view, "regular"), 2)
    return compare_labels(rng, [(a, b) for a, b in pairs if far_apart(a, b, view.size)])


def compare_labels(
    rng: np.random.Generator, pairs: Sequence[tuple[Thing, Thing]]
) -> Question | None:
    """Do the two of one of `pairs` say the same?"""
    same = bool(rng.random() < SAME_SHARE)
    pairs = [(a, b) for a, b in pairs if unlike(a.label, b.label) == (0 if same else 1)]
    if not pairs:
        return None
    a, b = pairs[rng.integers(len(pairs))]
    text = phrase(rng, "same label", thing=a.name, other=b.name)
    answer, detail = ("yes", "same") if same else ("no", "other")
    return Question("same label", text, answer, (a, b), detail)


def unlike(a: str, b: str) -> int | None:
    """At how many places two labels differ; None if they are not equally long."""
    return sum(x != y for x, y in zip(a, b, strict=True)) if len(a) == len(b) else None


def largest(rng: np.random.Generator, view: View) -> Question | None:
    """No question at all: the caption is the label of the clearly largest thing."""
    by_size = sorted((*view.things, *view.cut), key=lambda thing: -thing.radius)
    if not by_size:
        return Question("largest", "", NOTHING, ())
    thing = by_size[0]
    rival = by_size[1].radius if len(by_size) > 1 else 0.0
    if thing in view.cut or not thing.label or thing.radius < LARGEST_BY * rival:
        return None
    return Question("largest", "", thing.label, (thing,))


ANSWERABLE: Mapping[str, Maker] = {
    "existence": existence,
    "attribute": attribute,
    "reading": reading,
    "relation": relation,
    "counting": counting,
    "comparison": comparison,
    "neighbour reading": neighbour_reading,
    "same label": same_label,
    "habit": habit,
    "tiny": tiny,
}
