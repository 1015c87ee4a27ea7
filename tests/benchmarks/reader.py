"""Answers a question of MicroScenes from the scene's data and the question's words alone.

It shares no code with the makers of the questions: what a person with the list of things would say.
"""

from __future__ import annotations

import math
import re

from laser_tools.evaluation.benchmarks.microscenes.scenes import Scene, Thing

COLOURS = ["red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink"]
SHAPES = ["circle", "square", "triangle", "diamond", "star", "cross"]
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen",
)  # fmt: skip
WAYS = {
    "left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1),
    "left than": (-1, 0), "right than": (1, 0), "up than": (0, -1), "down than": (0, 1),
}  # fmt: skip
NAME = re.compile(rf"(?:({'|'.join(COLOURS)}) )?({'|'.join((*SHAPES, 'object'))})\b")


def answer(scene: Scene, question: str) -> str:
    """The right answer; "?" where the scene leaves it open."""
    text = question.lower()
    if not text:
        return _caption(scene)
    if counted := re.search(r"(?:how many|count the) (.+?)(?: are there| do you see)?[?.]$", text):
        return NUMBERS[len(_counted(scene, counted[1]))]
    names = _names(text)
    if not names:
        return "nothing" if _about_a_thing(text) else "unclear"
    if re.search(r"\ban? (\w+) (\w+)", text):
        return "yes" if _called(scene, names[0]) else "no"
    if len(names) == 2:
        return _of_two(scene, text, names)
    way = next((WAYS[word] for word in WAYS if f"{word} the" in text), None)
    return _beside(scene, text, names[0], way) if way else _of_one(scene, text, names[0])


def _names(text: str) -> list[tuple[str | None, str]]:
    """(colour, shape) of every thing that is named; "the object left of" names none."""
    found = [(m[1], m[2]) for m in NAME.finditer(text)]
    found += [(m[1], "object") for m in re.finditer(rf"which shape is ({'|'.join(COLOURS)})", text)]
    return [(colour, shape) for colour, shape in found if colour or shape != "object"]


def _about_a_thing(text: str) -> bool:
    """True if the words are those of a question about one thing."""
    starts = (
        "what is written on the", "what does the", "read the", "which label does the",
        "what number is on", "which number does", "what is the number of", "where is the",
        "find the", "where do you see", "what colour is", "which colour does",
        "what color is", "what is the colour of", "what shape is", "which shape is",
        "what is the shape of",
    )  # fmt: skip
    return text.startswith(starts)


def _called(scene: Scene, name: tuple[str | None, str]) -> list[Thing]:
    colour, shape = name
    return [t for t in scene.things if colour in (None, t.colour) and shape in (t.shape, "object")]


def _counted(scene: Scene, noun: str) -> list[Thing]:
    if noun == "shapes":
        return list(scene.things)
    colour = noun.removesuffix(" shapes")
    shape = noun.removesuffix("es") if noun == "crosses" else noun.removesuffix("s")
    return [t for t in scene.things if colour == t.colour or shape == t.shape]


def _caption(scene: Scene) -> str:
    return max(scene.things, key=lambda t: t.radius).label if scene.things else "nothing"


def _of_two(scene: Scene, text: str, names: list[tuple[str | None, str]]) -> str:
    first, second = (_called(scene, name) for name in names)
    if len(first) != 1 or len(second) != 1:
        return "unclear"
    (a,), (b,) = first, second
    if "label" in text or "say the same" in text:
        return "yes" if a.label == b.label else "no"
    dx, dy = next(WAYS[word] for word in WAYS if word in text)
    return "yes" if (a.x - b.x) * dx + (a.y - b.y) * dy > 0 else "no"


def _beside(scene: Scene, text: str, name: tuple[str | None, str], way: tuple[int, int]) -> str:
    """The answer about the nearest thing within 45 degrees of that direction."""
    anchors = _called(scene, name)
    if len(anchors) != 1:
        return "unclear" if anchors else "nothing"
    there = [(d, t) for t in scene.things if (d := _distance(anchors[0], t, way)) < math.inf]
    return _said(text, min(there, key=lambda pair: pair[0])[1]) if there else "nothing"


def _distance(anchor: Thing, thing: Thing, way: tuple[int, int]) -> float:
    dx, dy = thing.x - anchor.x, thing.y - anchor.y
    along, across = dx * way[0] + dy * way[1], abs(dx * way[1] + dy * way[0])
    return math.hypot(dx, dy) if along > 0 and across < along else math.inf


def _of_one(scene: Scene, text: str, name: tuple[str | None, str]) -> str:
    said = {_said(text, thing) for thing in _called(scene, name)}
    if not said:
        return "nothing"
    return said.pop() if len(said) == 1 else "unclear"


def _said(text: str, thing: Thing) -> str:
    asks = re.split(r" of the | above | below | left of | right of ", text)[0]
    if re.search(r"colou?r", asks):
        return thing.colour
    if "written" in text or "say" in text or "label" in text or "number" in text:
        return thing.label or "nothing"
    return thing.shape
