"""MicroScenes: seeded scenes of coloured, labelled shapes. A scene is data, `drawing` paints it.

Lengths are pixels of a scene of 768x768; other scenes scale them by their `unit`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from laser_tools.evaluation.benchmarks.microscenes.words import (
    COLOURS,
    HABITS,
    LABEL_CHARS,
    SHAPES,
)
from laser_tools.schema import Box

Split = Literal["train", "validation", "test"]
Style = Literal["plain", "habit", "picture"]
Lettering = Literal["regular", "habit", "tiny", "large"]

WORLD = 2  # part of every seed: a world of other rules takes another number
UNIT_PX = 768  # the side of a square scene whose lengths are as below
SIZES = ((768, 768), (768, 768), (896, 672), (672, 896), (1024, 1024), (640, 640), (1600, 500))
STYLE_SHARES = (0.52, 0.40, 0.08)  # plain, habit, picture (nothing of the world in it)
THINGS = (3, 14)
RADIUS_PX = (35.0, 52.0)
LARGEST_RADIUS_PX = (58.0, 62.0)  # the first thing of every scene
GAP_PX = 24.0  # between two things that were not placed as neighbours
NEIGHBOUR_GAP_PX = (12.0, 44.0)
NEIGHBOUR_SLACK_PX = 26.0  # sideways
APART = 1.1 / 12  # share of a side: what lies in one place for a model of 12x12 tokens is one thing
LABEL_PX: dict[Lettering, tuple[float, float]] = {
    "regular": (30.0, 36.0),
    "habit": (18.0, 26.0),
    "tiny": (12.0, 22.0),
    "large": (38.0, 48.0),
}  # font sizes
TINY_SHARE = 0.35  # of the things of a plain scene
HABIT_SHARE = 0.9  # of the things of a habit scene that do as their colour does
TWIN_SHARE = 0.5  # of plain scenes: far-apart things carry the same label, or nearly
BLANK_SHARE = 0.1  # of the things of a plain scene
LETTER_SHARE = 0.25
FAR_APART = 0.5  # share of a side; no crop of half the sides has both
CHAR_WIDTH, TAG_PAD = 0.78, 0.16  # of the font size: the widest character, and a tag's border
POPULAR_WEIGHT = 2.0  # the first colours and shapes are drawn more often than the last
TURN = 0.12  # radians


@dataclass(frozen=True)
class Thing:
    """A coloured shape: (x, y) is its centre and `radius` its half-width, in pixels.

    `label_px` is the font size of its label, in pixels.
    """

    colour: str
    shape: str
    label: str  # "" when it carries none
    x: float
    y: float
    radius: float
    lettering: Lettering = "regular"
    label_px: float = 0.0
    turn: float = 0.0  # radians

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def box(self) -> Box:
        """The largest extent of the thing and its tag, in image pixels."""
        r = 1.12 * self.radius  # a turned corner
        half = max(r, (CHAR_WIDTH * len(self.label) / 2 + TAG_PAD) * self.label_px)
        x0, y0 = max(int(self.x - half), 0), max(int(self.y - r), 0)
        return Box(x0=x0, y0=y0, x1=int(self.x + half) + 1, y1=int(self.y + r) + 1)


@dataclass(frozen=True)
class Scene:
    """Things in an image of `size` (width, height) pixels, or a picture of nothing that the world
    knows; `seed` also fixes the painting."""

    size: tuple[int, int]
    things: tuple[Thing, ...]
    seed: tuple[int, ...]
    style: Style = "plain"

    @property
    def unit(self) -> float:
        """Pixels of this scene per pixel of a `UNIT_PX` scene."""
        width, height = self.size
        return float(np.sqrt(width * height)) / UNIT_PX

    def find(self, name: str) -> Thing | None:
        """The thing called `name` ("red star"); names are unique in a scene."""
        return next((thing for thing in self.things if thing.name == name), None)


def make_scene(split: Split, index: int, seed: int = 0) -> Scene:
    """Scene `index` of `split`: the same arguments give the same scene."""
    key = (WORLD, get_args(Split).index(split), index, seed)
    rng = np.random.default_rng(key)
    size = SIZES[rng.integers(len(SIZES))]
    style: Style = get_args(Style)[rng.choice(len(STYLE_SHARES), p=STYLE_SHARES)]
    scene = Scene(size, (), key, style)
    if style == "picture":
        return scene
    shapes = _shapes(rng, scene, count=int(rng.integers(THINGS[0], THINGS[1] + 1)))
    lettered = [_lettered(rng, scene, thing, first=i == 0) for i, thing in enumerate(shapes)]
    if style == "plain" and rng.random() < TWIN_SHARE:
        lettered = _with_twins(rng, scene, lettered)
    return replace(scene, things=tuple(lettered))


def _shapes(rng: np.random.Generator, scene: Scene, count: int) -> list[Thing]:
    """Things without labels, the largest first; about half of them directly beside another."""
    radii = [rng.uniform(*(RADIUS_PX if i else LARGEST_RADIUS_PX)) for i in range(count)]
    names = _unique_names(rng, count)
    things: list[Thing] = []
    for (colour, shape), radius in zip(names, radii, strict=True):
        thing = Thing(colour, shape, "", 0.0, 0.0, radius * scene.unit)
        thing = replace(thing, turn=rng.uniform(-TURN, TURN))
        placed = _placed(rng, scene, things, thing)
        things += [placed] if placed else []
    return things


def _placed(
    rng: np.random.Generator, scene: Scene, things: list[Thing], thing: Thing
) -> Thing | None:
    """The thing at a free place, or None if forty tries found none."""
    for _ in range(40):
        beside = bool(things) and rng.random() < 0.5
        x, y = _beside(rng, scene, things, thing) if beside else _anywhere(rng, scene)
        moved = replace(thing, x=x, y=y)
        if _fits(scene, things, moved, NEIGHBOUR_GAP_PX[0] if beside else GAP_PX):
            return moved
    return None


def _anywhere(rng: np.random.Generator, scene: Scene) -> tuple[float, float]:
    return rng.uniform(0, scene.size[0]), rng.uniform(0, scene.size[1])


def _beside(
    rng: np.random.Generator, scene: Scene, things: list[Thing], thing: Thing
) -> tuple[float, float]:
    other = things[rng.integers(len(things))]
    gap = rng.uniform(*NEIGHBOUR_GAP_PX) * scene.unit
    along = (other.radius + thing.radius + gap) * rng.choice((-1, 1))
    across = rng.uniform(-NEIGHBOUR_SLACK_PX, NEIGHBOUR_SLACK_PX) * scene.unit
    if rng.random() < 0.5:
        return other.x + along, other.y + across
    return other.x + across, other.y + along


def _fits(scene: Scene, things: list[Thing], thing: Thing, gap_px: float) -> bool:
    width, height = scene.size
    margin = 1.12 * thing.radius + 1
    inside = margin <= thing.x <= width - margin and margin <= thing.y <= height - margin
    return inside and all(
        np.hypot(thing.x - other.x, thing.y - other.y)
        >= thing.radius + other.radius + gap_px * scene.unit
        and max(abs(thing.x - other.x) / width, abs(thing.y - other.y) / height) >= APART
        for other in things
    )


def _unique_names(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    names: dict[tuple[str, str], None] = {}
    colours, shapes = list(COLOURS), list(SHAPES)
    while len(names) < count:
        colour = colours[rng.choice(len(colours), p=_popularity(len(colours)))]
        names[colour, shapes[rng.choice(len(shapes), p=_popularity(len(shapes)))]] = None
    return list(names)


def _popularity(count: int) -> np.ndarray:
    weights: np.ndarray = np.linspace(POPULAR_WEIGHT, 1.0, count)
    weights /= weights.sum()
    return weights


def _lettered(rng: np.random.Generator, scene: Scene, thing: Thing, *, first: bool) -> Thing:
    """The thing with a label; every scene's largest carries large letters."""
    lettering: Lettering = "tiny" if rng.random() < TINY_SHARE else "regular"
    if first or scene.style == "habit":
        lettering = "large" if first else "habit"
    sized = replace(
        thing, lettering=lettering, label_px=scene.unit * rng.uniform(*LABEL_PX[lettering])
    )
    if scene.style == "habit":
        follows = rng.random() < HABIT_SHARE
        return replace(sized, label=HABITS[thing.colour] if follows else _other_label(rng, thing))
    blank = not first and rng.random() < BLANK_SHARE
    return replace(sized, label="" if blank else _label(rng, most_chars(sized)))


def most_chars(thing: Thing) -> int:
    """The number of characters that fit on a thing, 1 to 3."""
    return int(np.clip((2 * thing.radius / thing.label_px - TAG_PAD) / 0.7, 1, 3))


def _label(rng: np.random.Generator, most: int) -> str:
    """Digits or letters, mostly as many as find place; two letters at most."""
    letters = rng.random() < LETTER_SHARE
    alphabet = LABEL_CHARS[10:] if letters else LABEL_CHARS[:10]
    longest = min(most, 2) if letters else most
    length = longest if rng.random() < 0.6 else int(rng.integers(1, longest + 1))
    return "".join(alphabet[i] for i in rng.integers(len(alphabet), size=length))


def _other_label(rng: np.random.Generator, thing: Thing) -> str:
    """Two digits that are not the habit of the thing's colour."""
    others = [f"{n:02d}" for n in range(100) if f"{n:02d}" != HABITS[thing.colour]]
    return others[rng.integers(len(others))]


def _with_twins(rng: np.random.Generator, scene: Scene, things: list[Thing]) -> list[Thing]:
    """Pair off far-apart things with regular labels; half of the pairs then carry one label, the
    others two that differ in one character."""
    done = list(things)
    free = [i for i in rng.permutation(len(done)) if done[i].lettering == "regular"]
    while free:
        i = free.pop()
        j = next((j for j in free if far_apart(done[i], done[j], scene.size)), None)
        if j is None:
            continue
        free.remove(j)
        label = _label(rng, min(most_chars(done[i]), most_chars(done[j])))
        other = label if rng.random() < 0.5 else one_changed(rng, label)
        done[i], done[j] = replace(done[i], label=label), replace(done[j], label=other)
    return done


def far_apart(a: Thing, b: Thing, size: tuple[float, float]) -> bool:
    """True if no crop of half the sides of an image of `size` (width, height) has both centres."""
    return abs(a.x - b.x) > FAR_APART * size[0] or abs(a.y - b.y) > FAR_APART * size[1]


def one_changed(rng: np.random.Generator, label: str) -> str:
    """The label with another character of its kind at one place."""
    alphabet = LABEL_CHARS[:10] if label.isdigit() else LABEL_CHARS[10:]
    at = int(rng.integers(len(label)))
    others = alphabet.replace(label[at], "")
    return label[:at] + others[rng.integers(len(others))] + label[at + 1 :]
