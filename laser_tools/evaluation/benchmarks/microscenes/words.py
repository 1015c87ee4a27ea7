"""Words that MicroScenes 2 adds to the first: its phrasings, and words from outside it."""

from __future__ import annotations

from laser_tools.pico import words as first

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
COUNTS = (*first.COUNTS, "eleven", "twelve", "thirteen", "fourteen")

TEMPLATES: dict[str, tuple[str, ...]] = first.TEMPLATES | {
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

# fmt: off
FOREIGN: dict[str, tuple[str, ...]] = {
    "train": (
        "dog", "cat", "horse", "cow", "sheep", "bird", "fish", "mouse", "lion", "bear", "car",
        "bus", "train", "bicycle", "boat", "truck", "plane", "house", "door", "window", "roof",
        "wall", "bridge", "street", "tree", "flower", "leaf", "grass", "river", "mountain",
        "cloud", "sun", "table", "chair", "lamp", "bed", "sofa", "shelf", "clock", "mirror",
        "bottle", "cup", "plate", "fork", "knife", "spoon", "bowl", "pan", "apple", "banana",
        "bread", "cheese", "cake", "egg", "shirt", "hat", "shoe", "coat", "sock", "glove", "bag",
        "book", "pen", "paper", "phone", "laptop", "keyboard", "camera", "screen", "radio", "man",
        "woman", "child", "girl", "boy", "face", "hand", "nose",
    ),
    "validation": (
        "elephant", "monkey", "rabbit", "duck", "tractor", "scooter", "helicopter", "church",
        "fence", "garden", "forest", "lake", "pillow", "carpet", "kettle", "jug", "orchid",
        "tomato", "potato", "scarf", "belt", "watch", "pencil", "guitar", "drum",
    ),
    "test": (
        "giraffe", "zebra", "penguin", "turtle", "ambulance", "motorcycle", "submarine", "castle",
        "chimney", "meadow", "volcano", "desk", "cupboard", "candle", "bucket", "basket",
        "pumpkin", "cucumber", "jacket", "necklace", "umbrella", "newspaper", "piano", "violin",
        "robot", "policeman", "grandmother",
    ),
}
# fmt: on
"""Nouns of things that no scene holds; a model spells them."""

OFF_TOPIC: dict[str, tuple[str, ...]] = {
    "train": (
        "Who wrote this?",
        "What time is it?",
        "Tell me a joke.",
        "How old are you?",
        "What is the capital of France?",
        "Why is the sky high?",
        "Is it going to rain tomorrow?",
        "When was this made?",
        "Please book a table for two.",
        "Translate this to German.",
        "What is seven times nine?",
        "Who is the president?",
        "Do you like music?",
        "How much does it cost?",
        "What does he think?",
        "Write a poem.",
    ),
    "validation": (
        "What is your name?",
        "Where were you born?",
        "Which day is today?",
        "Can you sing?",
        "Explain quantum mechanics.",
        "How far is the moon?",
    ),
    "test": (
        "Who painted this?",
        "What happened yesterday?",
        "How do I cook rice?",
        "What is the meaning of life?",
        "Summarise the news.",
        "Which team won the game?",
        "Is she happy?",
        "What will happen next?",
    ),
}
"""Questions that no picture of this world answers."""
