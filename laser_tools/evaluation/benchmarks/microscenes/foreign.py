"""Words from outside the world of MicroScenes; each split has its own."""

from __future__ import annotations

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
