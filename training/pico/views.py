"""What pico is trained on: views of a scene at all scales, as methods that crop would make them.

A view is a crop of a scene, or a crop of a crop, resized exactly as pico's processor resizes; in a
masked one the patches over one thing are painted grey (LASER's negative stream).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from PIL import Image

from laser_tools.evaluation.benchmarks.microscenes.asking import View
from laser_tools.evaluation.benchmarks.microscenes.questions import unlike
from laser_tools.evaluation.benchmarks.microscenes.scenes import Scene, Thing, far_apart
from training.pico.build import GRID, INPUT_PX

Rectangle = tuple[int, int, int, int]

KINDS = (
    "whole",
    "near",  # half the sides, around thing A
    "near other",  # around thing B, often far from A
    "anywhere",  # half the sides
    "inside",  # half the sides of "near", around A
    "inside other",
    "wide",
    "masked",  # the whole image without A
    "masked near",  # "near" without A
)
WHOLE, NEAR, NEAR_OTHER, ANYWHERE, INSIDE, INSIDE_OTHER, WIDE, MASKED, MASKED_NEAR = range(9)
TWINS_FIRST = 0.7  # of the scenes that have things with the same or nearly the same label: A and B
SEEN, CUT = 0.88, 0.02  # shares of a thing inside a view: asked about from, in the way from


@dataclass(frozen=True)
class ViewSpec:
    """Where a view lies in its scene (pixels), and which thing is masked in it."""

    box: Rectangle
    masked: Thing | None = None


def view_specs(scene: Scene) -> list[ViewSpec]:
    """One spec per entry of `KINDS`."""
    rng = np.random.default_rng((*scene.seed, 3))
    a, b = _subjects(rng, scene)
    whole = (0, 0, *scene.size)
    near, other = _around(rng, whole, a, 0.5), _around(rng, whole, b, 0.5)
    return [
        ViewSpec(whole),
        ViewSpec(near),
        ViewSpec(other),
        ViewSpec(_around(rng, whole, None, 0.5)),
        ViewSpec(_around(rng, near, a, 0.5)),
        ViewSpec(_around(rng, other, b, 0.5)),
        ViewSpec(_around(rng, whole, None, rng.uniform(0.6, 0.95))),
        ViewSpec(whole, a),
        ViewSpec(near, a),
    ]


def _subjects(rng: np.random.Generator, scene: Scene) -> tuple[Thing | None, Thing | None]:
    """Two things to look at: such as can be compared, far-apart ones, or any."""
    if not scene.things:
        return None, None
    apart = [(a, b) for a, b in permutations(scene.things, 2) if far_apart(a, b, scene.size)]
    twins = [(a, b) for a, b in apart if a.label and unlike(a.label, b.label) in (0, 1)]
    if twins and rng.random() < TWINS_FIRST:
        return twins[rng.integers(len(twins))]
    if apart and rng.random() < 0.5:
        return apart[rng.integers(len(apart))]
    a, b = (scene.things[i] for i in rng.integers(len(scene.things), size=2))
    return a, b


def to_be_compared(scene: Scene) -> bool:
    """Whether the things looked at, far apart, carry the same label, or nearly."""
    a, b = _subjects(np.random.default_rng((*scene.seed, 3)), scene)
    return bool(a and b and a.label and b.label and unlike(a.label, b.label) in (0, 1))


def _around(
    rng: np.random.Generator, outer: Rectangle, thing: Thing | None, share: float
) -> Rectangle:
    """A box with a share of `outer`'s sides inside of it, that holds the thing, not in its middle;
    anywhere if there is none."""
    x0, y0, x1, y1 = outer
    width, height = round((x1 - x0) * share), round((y1 - y0) * share)
    if thing is None:
        left, top = rng.uniform(x0, x1 - width), rng.uniform(y0, y1 - height)
    else:
        room = [0.6 * max(side / 2 - 1.1 * thing.radius, 0) for side in (width, height)]
        left = thing.x - width / 2 + rng.uniform(-room[0], room[0])
        top = thing.y - height / 2 + rng.uniform(-room[1], room[1])
    left, top = int(np.clip(left, x0, x1 - width)), int(np.clip(top, y0, y1 - height))
    return left, top, left + width, top + height


def masked_cells(scene: Scene, thing: Thing) -> Rectangle:
    """The whole-image pixel rectangle of the grid cells that a thing's box touches."""
    cell_w, cell_h = scene.size[0] / GRID, scene.size[1] / GRID
    box = thing.box
    x0, y0 = int(box.x0 // cell_w), int(box.y0 // cell_h)
    x1, y1 = int(-(-box.x1 // cell_w)), int(-(-box.y1 // cell_h))
    return round(x0 * cell_w), round(y0 * cell_h), round(x1 * cell_w), round(y1 * cell_h)


def render(scene: Scene, image: Image.Image, spec: ViewSpec) -> np.ndarray:
    """The view's pixels (INPUT_PX, INPUT_PX, 3), uint8."""
    if spec.masked:
        image = image.copy()
        grey = tuple(int(v) for v in np.asarray(image.resize((1, 1), Image.Resampling.BOX))[0, 0])
        image.paste(grey, masked_cells(scene, spec.masked))
    view = image.crop(spec.box).resize((INPUT_PX, INPUT_PX), Image.Resampling.BICUBIC)
    return np.asarray(view)


def what_is_seen(scene: Scene, spec: ViewSpec) -> View:
    """The things of a view in its own pixel frame: whole ones, and those cut by border or mask."""
    x0, y0, x1, y1 = spec.box
    hidden = masked_cells(scene, spec.masked) if spec.masked else (0, 0, 0, 0)
    seen: list[Thing] = []
    cut: list[Thing] = []
    for thing in scene.things:
        share = _share_inside(thing, spec.box) - _share_inside(thing, hidden)
        if share > CUT:
            moved = replace(thing, x=thing.x - x0, y=thing.y - y0)
            (seen if share > SEEN else cut).append(moved)
    return View(tuple(seen), tuple(cut), (float(x1 - x0), float(y1 - y0)), scene.unit)


def _share_inside(thing: Thing, box: Rectangle) -> float:
    width = min(thing.x + thing.radius, box[2]) - max(thing.x - thing.radius, box[0])
    height = min(thing.y + thing.radius, box[3]) - max(thing.y - thing.radius, box[1])
    return float(max(width, 0.0) * max(height, 0.0) / (2 * thing.radius) ** 2)
