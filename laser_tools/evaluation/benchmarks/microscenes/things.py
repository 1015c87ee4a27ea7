"""A thing's outline and its label, painted."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from PIL import ImageDraw, ImageFont

from laser_tools.errors import MissingExtra
from laser_tools.evaluation.benchmarks.microscenes.scenes import Thing
from laser_tools.evaluation.benchmarks.microscenes.words import COLOURS

FONTS = ("DejaVuSans-Bold", "DejaVuSansMono-Bold", "DejaVuSerif-Bold", "DejaVuSans")
CHAR_ADVANCE, CAP_HEIGHT = 0.68, 0.73  # of the font size; means over FONTS


def paint(rng: np.random.Generator, canvas: ImageDraw.ImageDraw, thing: Thing, unit: float) -> None:
    """Fill the thing, outline it every other time, and write its label."""
    fill = shade(rng, thing.colour)
    outline = tuple(int(v * 0.55) for v in fill) if rng.random() < 0.5 else None
    points = _outline(thing)
    canvas.polygon(points, fill=fill, outline=outline, width=max(int(3 * unit), 1))
    if thing.label:
        _label(rng, canvas, thing)


def shade(rng: np.random.Generator, colour: str) -> tuple[int, ...]:
    """A colour of the world, not quite the same each time."""
    rgb = np.array(COLOURS[colour]) * rng.uniform(0.88, 1.06) + rng.uniform(-10, 10, 3)
    return tuple(int(v) for v in np.clip(rgb, 0, 255))


def _outline(thing: Thing) -> list[tuple[float, float]]:
    """The polygon of a thing's outline."""
    unit_points = np.array(_OUTLINES[thing.shape])
    cos, sin = np.cos(thing.turn), np.sin(thing.turn)
    turned = unit_points @ np.array([[cos, sin], [-sin, cos]])
    return [(thing.x + thing.radius * px, thing.y + thing.radius * py) for px, py in turned]


def _circle(count: int, start: float = 0.0, radii: tuple[float, ...] = (1.0,)) -> list[list[float]]:
    angles = start + 2 * np.pi * np.arange(count) / count
    return [
        [radii[i % len(radii)] * float(np.cos(a)), radii[i % len(radii)] * float(np.sin(a))]
        for i, a in enumerate(angles)
    ]


_ARM = 0.42
_OUTLINES: dict[str, list[list[float]]] = {
    "circle": _circle(48, radii=(0.95,)),
    "square": [[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]],
    "triangle": [[0.0, -1.0], [1.0, 0.85], [-1.0, 0.85]],
    "diamond": [[0.0, -1.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]],
    "star": _circle(10, start=-np.pi / 2, radii=(1.0, 0.45)),
    "cross": [
        [-_ARM, -1.0], [_ARM, -1.0], [_ARM, -_ARM], [1.0, -_ARM], [1.0, _ARM], [_ARM, _ARM],
        [_ARM, 1.0], [-_ARM, 1.0], [-_ARM, _ARM], [-1.0, _ARM], [-1.0, -_ARM], [-_ARM, -_ARM],
    ],
}  # fmt: skip  # fmt: skip


def _label(rng: np.random.Generator, canvas: ImageDraw.ImageDraw, thing: Thing) -> None:
    """Draw the label dark on a light tag or light on a dark one, upper-case, amid the thing."""
    font = _font(FONTS[rng.integers(len(FONTS))], round(thing.label_px))
    centre, text = label_centre(thing), thing.label.upper()
    dark, light = (int(rng.integers(0, 40)),) * 3, (int(rng.integers(225, 256)),) * 3
    ink, tag = (dark, light) if rng.random() < 0.7 else (light, dark)
    x0, y0, x1, y1 = canvas.textbbox(centre, text, font=font, anchor="mm")
    pad = 0.16 * thing.label_px
    canvas.rounded_rectangle((x0 - pad, y0 - pad, x1 + pad, y1 + pad), radius=pad, fill=tag)
    canvas.text(centre, text, font=font, fill=ink, anchor="mm")


@functools.lru_cache(maxsize=64)
def _font(name: str, size_px: int) -> ImageFont.FreeTypeFont:
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtra("Drawing MicroScenes", "engine") from error
    return ImageFont.truetype(
        Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf"), size_px
    )


def label_centre(thing: Thing) -> tuple[float, float]:
    """The centre (x, y) of a thing's label."""
    return thing.x, thing.y + (0.2 * thing.radius if thing.shape == "triangle" else 0.0)
