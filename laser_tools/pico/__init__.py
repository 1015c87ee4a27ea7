"""pico: the embedded vision-language model, its world (MicroScenes), its recipe and its weights.

The model is a stock LLaVA class with a vision tower of our own. Scenes are data that a seed makes
and `draw` paints. May import `figures` and the hall.
"""

from __future__ import annotations

from pathlib import Path

SCENE = Path(__file__).with_name("scene.png")
"""A picture to try things on; scene.json beside it holds a question about it and the answer."""
