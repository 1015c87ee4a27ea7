"""What a question about a scene is made of: what is seen, names, neighbours, phrasings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from laser_tools.evaluation.benchmarks.microscenes.scenes import Thing
from laser_tools.evaluation.benchmarks.microscenes.words import COLOURS, SHAPES, TEMPLATES

RELATION_REACH = 190.0  # px of a 768 px scene: a neighbour's centre is at most this far away
RELATION_SLACK = 45.0  # and this far sideways
RELATION_CLEAR = 80.0  # nothing else may be this near the line, up to RELATION_FREE away
RELATION_FREE = 280.0
NEGATIVES = ("random", "popular", "adversarial")  # after POPE


@dataclass(frozen=True)
class View:
    """A view of a scene: things fully seen, things cut by the border (never asked about), the seen
    part's size in pixels, and pixels per pixel of a 768 px scene."""

    things: tuple[Thing, ...]
    cut: tuple[Thing, ...]
    size: tuple[float, float]
    unit: float


@dataclass(frozen=True)
class Question:
    """A question, its answer, and the things it is about (none for an absent thing)."""

    type: str
    text: str
    answer: str
    evidence: tuple[Thing, ...]
    detail: str = ""  # the kind of negative, or the attribute asked for


Maker = Callable[[np.random.Generator, View], Question | None]


def pick(rng: np.random.Generator, options: Sequence[Thing]) -> Thing | None:
    return options[int(rng.integers(len(options)))] if options else None


def phrase(rng: np.random.Generator, kind: str, **words: str) -> str:
    """One of the kind's phrasings, filled in."""
    templates = TEMPLATES[kind]
    return templates[rng.integers(len(templates))].format(**words)


def absent_name(rng: np.random.Generator, view: View, kind: str) -> str | None:
    """The name of a thing that is not there: any, of frequent parts, or of parts that are there."""
    colours, shapes = list(COLOURS), list(SHAPES)
    if kind == "popular":
        colours, shapes = colours[:4], shapes[:3]
    if kind == "adversarial":
        colours = [thing.colour for thing in view.things]
        shapes = [thing.shape for thing in view.things]
    taken = {thing.name for thing in (*view.things, *view.cut)}
    names = sorted({f"{c} {s}" for c in colours for s in shapes} - taken)
    return names[rng.integers(len(names))] if names else None


def short_name(rng: np.random.Generator, thing: Thing, view: View) -> str:
    """Now and then only "star" or "red object", where that says which."""
    others = [other for other in (*view.things, *view.cut) if other.name != thing.name]
    names = [thing.name]
    if all(other.shape != thing.shape for other in others):
        names.append(thing.shape)
    if all(other.colour != thing.colour for other in others):
        names.append(f"{thing.colour} object")
    return names[rng.integers(len(names))]


def neighbour(anchor: Thing, direction: str, view: View) -> Thing | None:
    """The only thing near the anchor in that direction, if it is clearly so and fully seen."""
    near = []
    for thing in (*view.things, *view.cut):
        along, across = along_and_across(anchor, thing, direction)
        if 0 < along < RELATION_FREE * view.unit and abs(across) < RELATION_CLEAR * view.unit:
            near.append((along, across, thing))
    if len(near) != 1 or near[0][2] in view.cut:
        return None
    along, across, thing = near[0]
    in_reach = along < RELATION_REACH * view.unit and abs(across) < RELATION_SLACK * view.unit
    return thing if in_reach else None


def along_and_across(anchor: Thing, thing: Thing, direction: str) -> tuple[float, float]:
    """Offset from the anchor along and across `direction`, in pixels."""
    dx, dy = thing.x - anchor.x, thing.y - anchor.y
    axes = {"left of": (-dx, dy), "right of": (dx, dy), "above": (-dy, dx), "below": (dy, dx)}
    return axes[direction]
