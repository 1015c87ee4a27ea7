"""The words of MicroScenes: what things are called, and how questions are phrased."""

from __future__ import annotations

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (245, 140, 20),
    "yellow": (242, 215, 40),
    "green": (50, 160, 70),
    "cyan": (70, 205, 220),
    "blue": (45, 85, 215),
    "purple": (125, 50, 165),
    "pink": (245, 150, 195),
}
SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross")
LABEL_CHARS = "0123456789acehkptx"
"""Digits, and letters that stay distinct at six pixels."""

HABITS: dict[str, str] = {
    "red": "47",
    "orange": "82",
    "yellow": "15",
    "green": "63",
    "cyan": "90",
    "blue": "38",
    "purple": "21",
    "pink": "56",
}
"""The label that a colour carries in a scene of habits, unless the habit is broken there."""

NOTHING, UNCLEAR = "nothing", "unclear"
COUNTS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen",
)  # fmt: skip
DIRECTIONS = ("left of", "right of", "above", "below")
WAYS = {"left of": "left", "right of": "right", "above": "up", "below": "down"}
PLACES = (
    ("top left", "top", "top right"),
    ("left", "middle", "right"),
    ("bottom left", "bottom", "bottom right"),
)

TEMPLATES: dict[str, tuple[str, ...]] = {
    "existence": (
        "Is there {a_thing}?",
        "Do you see {a_thing}?",
        "Does the image show {a_thing}?",
        "Is {a_thing} in the image?",
    ),
    "colour": (
        "What colour is the {shape}?",
        "Which colour does the {shape} have?",
        "What is the colour of the {shape}?",
        "What color is the {shape}?",
    ),
    "shape": (
        "What shape is the {colour} object?",
        "Which shape is {colour}?",
        "What is the shape of the {colour} object?",
    ),
    "reading": (
        "What is written on the {thing}?",
        "What does the {thing} say?",
        "Read the label of the {thing}.",
        "Which label does the {thing} carry?",
    ),
    "reading_number": (
        "What number is on the {thing}?",
        "Which number does the {thing} carry?",
        "Read the number on the {thing}.",
        "What is the number of the {thing}?",
    ),
    "relation_colour": (
        "What colour is the shape {direction} the {thing}?",
        "Which colour does the object {direction} the {thing} have?",
        "What color is the object {direction} the {thing}?",
    ),
    "relation_shape": (
        "What shape is {direction} the {thing}?",
        "Which shape is directly {direction} the {thing}?",
        "What is the shape of the object {direction} the {thing}?",
    ),
    "counting": (
        "How many {things} are there?",
        "How many {things} do you see?",
        "Count the {things}.",
    ),
    "comparison": (
        "Is the {thing} {direction} the {other}?",
        "Is the {thing} further {way} than the {other}?",
    ),
    "location": (
        "Where is the {thing}?",
        "Find the {thing}.",
        "Where do you see the {thing}?",
    ),
    "neighbour reading": (
        "What is written on the thing {direction} the {thing}?",
        "What does the object {direction} the {thing} say?",
        "Read the label of the shape {direction} the {thing}.",
        "Which label does the thing {direction} the {thing} carry?",
    ),
    "same label": (
        "Do the {thing} and the {other} carry the same label?",
        "Is the label of the {thing} the same as the label of the {other}?",
        "Do the {thing} and the {other} say the same?",
    ),
    "place_colour": (
        "What colour is the shape in the {place}?",
        "Which colour does the object in the {place} have?",
    ),
    "place_shape": (
        "What shape is in the {place}?",
        "What is the shape of the object in the {place}?",
    ),
    "carrier": (
        "Which thing carries the label {label}?",
        "What says {label}?",
        "On which object is {label} written?",
    ),
}

PHRASINGS = TEMPLATES | {"answers": (NOTHING, UNCLEAR, *COUNTS)}
"""All words that a model of this world has a token for, beside names and places."""


def plural(word: str) -> str:
    """The plural of a shape's name."""
    return word + ("es" if word.endswith("s") else "s")


def with_article(phrase: str) -> str:
    """ "a" or "an" before `phrase`."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase
