"""What the stages of training ask, and of which views."""

from __future__ import annotations

from dataclasses import dataclass, replace

from laser_tools.evaluation.benchmarks.microscenes.scenes import THINGS
from training.pico.views import (
    ANYWHERE,
    INSIDE,
    MASKED,
    MASKED_NEAR,
    NEAR,
    NEAR_OTHER,
    WHOLE,
)

SINGLE = (0.44, 0.14, 0.10, 0.08, 0.08, 0.04, 0.06, 0.04, 0.02)  # shares of `views.KINDS`
PAIRS = {
    (WHOLE, NEAR): 0.42,
    (WHOLE, NEAR_OTHER): 0.12,
    (WHOLE, ANYWHERE): 0.10,
    (WHOLE, INSIDE): 0.12,
    (NEAR, INSIDE): 0.16,  # LASER inside its crop
    (MASKED, MASKED_NEAR): 0.08,
}
TRIPLES = {(WHOLE, NEAR, NEAR_OTHER): 0.85, (WHOLE, NEAR, INSIDE): 0.15}


@dataclass(frozen=True)
class Diet:
    """Shares of question kinds, of rows with one, two and three images, and of `blind` questions
    (see `rows.Segment`)."""

    mix: dict[str, float]
    images: tuple[float, float, float]
    blind_share: float
    single: tuple[float, ...] = SINGLE
    questions: int = 8  # behind the images of a row
    most_things: int = THINGS[1]  # scenes are cut down to so many
    thin_share: float = 0.0  # of symbolic rows: one cell a thing
    sparse_share: float = 0.0  # of batches with pixels: most of the background is left out
    recalled: Diet | None = None  # of symbolic batches, in a stage with pixels
    recalled_share: float = 0.0  # of batches, those
    twins: bool = False  # symbolic scenes in which every second thing says what the one before does
    place_weight: float = 0.3  # of the losses of places and labels, beside the answers'


BIND = Diet(
    mix={
        "existence": 0.12,
        "attribute": 0.24,
        "label": 0.26,
        "location": 0.12,
        "carrier": 0.10,
        "relation": 0.16,
    },
    images=(1.0, 0.0, 0.0),
    blind_share=0.3,
    single=(1.0, *(0.0,) * 8),
    most_things=4,
    thin_share=1.0,
    place_weight=0.0,
)
HOPS = replace(
    BIND,
    mix={
        "existence": 0.03,
        "attribute": 0.07,
        "label": 0.09,
        "location": 0.14,
        "relation": 0.30,
        "beside": 0.20,
        "neighbour reading": 0.09,
        "comparison": 0.08,
    },
    most_things=6,
    place_weight=0.3,
)
"""Directions. Of six things the nearest is what was asked for in four of five; that there may be
nothing on a side is what makes the side matter."""
TEXT = Diet(
    mix={
        "existence": 0.07,
        "attribute": 0.06,
        "label": 0.09,
        "relation": 0.16,
        "neighbour reading": 0.16,
        "same label": 0.16,
        "counting": 0.06,
        "comparison": 0.08,
        "location": 0.04,
        "carrier": 0.02,
        "none": 0.08,
        "largest": 0.02,
    },
    images=(0.86, 0.08, 0.06),
    blind_share=0.5,
    single=(0.8, 0.1, 0.03, 0.03, 0.0, 0.0, 0.04, 0.0, 0.0),
    thin_share=0.9,
)
TWINS = replace(
    TEXT,
    mix={
        "existence": 0.02,
        "label": 0.12,
        "relation": 0.06,
        "neighbour reading": 0.10,
        "twins": 0.50,
        "counting": 0.08,
        "comparison": 0.02,
        "carrier": 0.06,
        "none": 0.04,
    },
    blind_share=0.3,
    single=(1.0, *(0.0,) * 8),
    images=(1.0, 0.0, 0.0),
    most_things=6,
    thin_share=1.0,
    twins=True,
)
"""Two labels at once. In whole scenes comparing them was not learned at all."""
RECALLED = replace(
    TWINS,
    mix={
        "existence": 0.02,
        "label": 0.10,
        "relation": 0.06,
        "neighbour reading": 0.10,
        "twins": 0.40,
        "counting": 0.20,
        "comparison": 0.04,
        "carrier": 0.02,
        "none": 0.06,
    },
    images=(0.7, 0.1, 0.2),
    most_things=THINGS[1],
    thin_share=0.5,
)
"""What pixels alone unlearn: recalled as joint first had it, in scenes of its own, two labels were
compared no better than by chance after 2,300 steps, and six things were counted worse (.95 -> .78)."""
JOINT = Diet(
    mix={
        "existence": 0.04,
        "attribute": 0.05,
        "label": 0.26,
        "relation": 0.12,
        "neighbour reading": 0.14,
        "same label": 0.03,
        "counting": 0.16,
        "comparison": 0.05,
        "location": 0.01,
        "carrier": 0.01,
        "none": 0.10,
        "largest": 0.03,
    },
    images=(0.45, 0.28, 0.27),
    blind_share=0.65,
    questions=12,  # an image costs more, so more is asked of it
    sparse_share=0.75,
    recalled=RECALLED,
    recalled_share=0.25,
)
