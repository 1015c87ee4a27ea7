"""The house style of every picture: colours, fonts, figures that leave pyplot's state alone."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from laser_tools.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, FAINT = "#1b1f24", "#6b7280", "#d5d9df"
LASER_COLOUR, PLAIN_COLOUR = "#d1242f", "#4c6a92"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.labelsize": 7.5,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "text.parse_math": False,  # an answer may hold a dollar sign
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "savefig.dpi": 200,
}


@contextmanager
def styled_figure(width_in: float, height_in: float) -> Iterator[Figure]:
    """A white figure in the house style, which holds while the block runs (save inside it).

    Raises MissingExtra without matplotlib.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("Drawing a figure", "engine") from None
    with rc_context(STYLE):
        yield Figure(figsize=(width_in, height_in), facecolor="white")


def drawable(text: str) -> str:
    """`text` on one line, with characters that the figure's font lacks shown as a square."""
    known = _known_characters()
    return "".join(c if ord(c) in known else "□" for c in " ".join(text.split()))


@functools.cache
def _known_characters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())
