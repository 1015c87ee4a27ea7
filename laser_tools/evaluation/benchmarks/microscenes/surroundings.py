"""What is around the things of a scene: texture, clutter and light."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from laser_tools.evaluation.benchmarks.microscenes.scenes import Scene
from laser_tools.evaluation.benchmarks.microscenes.things import shade
from laser_tools.evaluation.benchmarks.microscenes.words import COLOURS

DOT_RADIUS_PX = (4.0, 13.0)  # coloured clutter is much smaller than any thing


def background(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A greyish plane with a soft, coarse texture."""
    base = rng.uniform(70, 225) + rng.uniform(-12, 12, 3)
    cells = int(rng.choice((6, 16, 48)))
    noise = rng.normal(0, rng.uniform(3, 14), (cells, cells, 1)) + rng.normal(
        0, 2.0, (cells, cells, 3)
    )
    small = Image.fromarray(np.clip(base + noise, 0, 255).astype(np.uint8))
    return small.resize(size, Image.Resampling.BILINEAR)


def grey_clutter(rng: np.random.Generator, canvas: ImageDraw.ImageDraw, scene: Scene) -> None:
    """Grey lines, dots and scraps: never coloured, never labelled."""
    width, height = scene.size
    for _ in range(int(rng.integers(0, 14))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        length, turn = rng.uniform(8, 120) * scene.unit, rng.uniform(0, 2 * np.pi)
        grey = tuple(int(v) for v in np.clip(rng.uniform(40, 235) + rng.uniform(-6, 6, 3), 0, 255))
        end = (x + length * np.cos(turn), y + length * np.sin(turn))
        if rng.random() < 0.6:
            canvas.line((x, y, *end), fill=grey, width=int(rng.integers(1, 6)))
        else:
            r = length / 10
            canvas.ellipse((x - r, y - r, x + r, y + r), fill=grey)


def coloured_clutter(rng: np.random.Generator, canvas: ImageDraw.ImageDraw, scene: Scene) -> None:
    """Small dots and strokes in the colours of things."""
    for _ in range(int(rng.integers(4, 20))):
        x, y = rng.uniform(0, scene.size[0]), rng.uniform(0, scene.size[1])
        r = rng.uniform(*DOT_RADIUS_PX) * scene.unit
        fill = shade(rng, list(COLOURS)[rng.integers(len(COLOURS))])
        if rng.random() < 0.7:
            canvas.ellipse((x - r, y - r, x + r, y + r), fill=fill)
        else:
            dx, dy = rng.uniform(-5, 5, 2) * r
            canvas.line((x, y, x + dx, y + dy), fill=fill, width=max(int(r / 4), 1))


def with_light(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """A slow gradient of brightness, and now and then a slight blur."""
    corners = rng.uniform(0.82, 1.1, (2, 2))
    ramp = np.clip(corners * 128, 0, 255).astype(np.uint8)
    gain = Image.fromarray(ramp).resize(image.size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.uint16) * np.asarray(gain, dtype=np.uint16)[..., None]
    lit = Image.fromarray(np.minimum(pixels >> 7, 255).astype(np.uint8))
    return lit.filter(ImageFilter.GaussianBlur(1.0)) if rng.random() < 0.15 else lit
