"""pico: the embedded vision-language model, its world (MicroScenes), its recipe and its weights."""

from __future__ import annotations

from pathlib import Path

SCENE = Path(__file__).with_name("scene.png")
"""A picture to try things on; scene.json beside it holds a question about it and the answer."""
