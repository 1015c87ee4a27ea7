"""pico, the embedded vision-language model: its vision tower, its weights, a picture to try it on.

The rest of it is a stock LLaVA class. Its world is `evaluation.benchmarks.microscenes`, its recipe
`training.pico`, in the repository only. May import the hall.
"""

from __future__ import annotations

from pathlib import Path

SCENE = Path(__file__).with_name("scene.png")
"""A picture to try things on; scene.json beside it holds a question about it and the answer."""
