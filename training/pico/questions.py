"""Questions that are asked in training only: where, which thing says that, what is in a ninth."""

from __future__ import annotations

import numpy as np

from laser_tools.evaluation.benchmarks.microscenes.asking import (
    Question,
    View,
    phrase,
    pick,
    short_name,
)
from laser_tools.evaluation.benchmarks.microscenes.words import NOTHING, PLACES

EMPTY_SHARE = 0.2  # of questions about a ninth: any ninth, mostly an empty one
PLACE_MARGIN = 0.12  # of a ninth's side: nearer to its border a thing is in no place


def location(rng: np.random.Generator, view: View) -> Question | None:
    """Ask where in the picture a thing is: one of nine places, never near a border of two."""
    candidates = []
    for thing in view.things:
        column, row = (3 * thing.x / view.size[0], 3 * thing.y / view.size[1])
        if all(abs(v - edge) > PLACE_MARGIN for v in (column, row) for edge in (1, 2)):
            candidates.append((thing, PLACES[int(row)][int(column)]))
    if not candidates:
        return None
    thing, place = candidates[rng.integers(len(candidates))]
    name = short_name(rng, thing, view)
    return Question("location", phrase(rng, "location", thing=name), place, (thing,))


def carrier(rng: np.random.Generator, view: View) -> Question | None:
    """Ask which thing carries a label."""
    labels = [thing.label for thing in (*view.things, *view.cut)]
    thing = pick(rng, [t for t in view.things if t.label and labels.count(t.label) == 1])
    if thing is None:
        return None
    return Question("carrier", phrase(rng, "carrier", label=thing.label), thing.name, (thing,))


def placed(rng: np.random.Generator, view: View) -> Question | None:
    """Ask for the colour or shape of the thing in a ninth of the picture."""
    row, column = (int(at) for at in rng.integers(3, size=2))
    if view.things and rng.random() > EMPTY_SHARE:
        thing = view.things[rng.integers(len(view.things))]
        row, column = int(3 * thing.y / view.size[1]), int(3 * thing.x / view.size[0])
    inside, near = [], []
    for thing in (*view.things, *view.cut):
        off = max(
            abs(3 * thing.x / view.size[0] - column - 0.5),
            abs(3 * thing.y / view.size[1] - row - 0.5),
        )  # from the middle of the ninth; its border is at 0.5
        inside += [thing] if off < 0.5 - PLACE_MARGIN else []
        near += [thing] if off < 0.5 + PLACE_MARGIN else []
    if len(near) > 1 or len(inside) != len(near) or set(near) & set(view.cut):
        return None
    asks = "colour" if rng.random() < 0.5 else "shape"
    text = phrase(rng, f"place_{asks}", place=PLACES[row][column])
    answer = getattr(near[0], asks) if near else NOTHING
    return Question("placed", text, answer, tuple(near), asks)
