"""Pictures in which there is nothing of the world: noise, textures, drawn views, photographs.

The photographs ship with matplotlib and scikit-learn; each split has one of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from laser_tools.errors import MissingExtra
from laser_tools.evaluation.benchmarks.microscenes.scenes import Split
from laser_tools.evaluation.benchmarks.microscenes.surroundings import background

Size = tuple[int, int]
Draw = np.random.Generator
PHOTOGRAPH_SHARE = 0.2
LEAST_CROP = 0.4  # of a photograph's sides


def draw_picture(rng: Draw, size: Size, split: Split) -> Image.Image:
    """One of all kinds; photographs are those of the split."""
    if rng.random() < PHOTOGRAPH_SHARE:
        return _part_of_photograph(rng, size, split)
    return DRAWN[rng.integers(len(DRAWN))](rng, size)


def _grown(values: np.ndarray, size: Size) -> Image.Image:
    """(h, w, 3) in 0..255 -> an image of `size`."""
    small = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def _two_colours(rng: Draw, mix: np.ndarray) -> np.ndarray:
    """(h, w) in 0..1 -> (h, w, 3): from one random colour to another."""
    first, second = rng.uniform(0, 255, (2, 3))
    return np.asarray(first + mix[..., None] * (second - first))


def _clouds_map(rng: Draw, side: int = 128) -> np.ndarray:
    """(side, side) in 0..1: noise of all scales, the coarse strongest."""
    total = np.zeros((side, side))
    for octave in range(2, 8):
        cells = rng.normal(0, 1, (min(2**octave, side),) * 2)
        grown = Image.fromarray(cells.astype(np.float32)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        total += np.asarray(grown) / 2 ** (octave * rng.uniform(0.5, 1.2))
    return np.asarray((total - total.min()) / np.ptp(total))


def noise(rng: Draw, size: Size) -> Image.Image:
    """Each cell another colour, or another grey."""
    cells = int(rng.choice((12, 48, 128, 256)))
    channels = 3 if rng.random() < 0.6 else 1
    values = rng.normal(rng.uniform(60, 200), rng.uniform(20, 90), (cells, cells, channels))
    return _grown(np.broadcast_to(values, (cells, cells, 3)), size)


def clouds(rng: Draw, size: Size) -> Image.Image:
    """Soft patches of two colours."""
    return _grown(_two_colours(rng, _clouds_map(rng)), size)


def stripes(rng: Draw, size: Size) -> Image.Image:
    """Waves or bands, straight or warped, or crossed into checks."""
    y, x = np.mgrid[0:1:256j, 0:1:256j]
    turn, waves = rng.uniform(0, np.pi), rng.uniform(2, 30)
    along = x * np.cos(turn) + y * np.sin(turn) + rng.uniform(0, 0.15) * _clouds_map(rng, 256)
    mix = np.sin(2 * np.pi * waves * along)
    if rng.random() < 0.4:
        mix = mix * np.sin(2 * np.pi * waves * (x * np.sin(turn) - y * np.cos(turn)))
    mix = mix / 2 + 0.5 if rng.random() < 0.5 else (mix > 0).astype(float)
    return _grown(_two_colours(rng, mix), size)


def landscape(rng: Draw, size: Size) -> Image.Image:
    """A sky over ridges that get darker towards the front, under a soft grain."""
    side = 256
    sky = np.linspace(0, 1, side)[:, None] + 0.3 * _clouds_map(rng, side)
    values = _two_colours(rng, sky / sky.max())
    ground = rng.uniform(30, 170, 3)
    y = np.arange(side)[:, None]
    for depth in np.linspace(0.35, 0.9, int(rng.integers(2, 6))):
        ridge = _clouds_map(rng, side)[0] * side * rng.uniform(0.1, 0.4) + side * (depth - 0.15)
        values = np.where((y > ridge)[..., None], ground * (1.2 - depth), values)
    return _grown(values + rng.normal(0, 6, values.shape), size)


def blurred(rng: Draw, size: Size) -> Image.Image:
    """Large patches out of focus."""
    image = _grown(_two_colours(rng, _clouds_map(rng)), (192, 192))
    canvas = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(5, 40))):
        x, y = rng.uniform(0, 192, 2)
        a, b = rng.uniform(8, 70, 2)
        fill = tuple(int(v) for v in rng.integers(0, 256, 3))
        canvas.ellipse((x - a, y - b, x + a, y + b), fill=fill)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(6, 16))).resize(size)


DRAWN: tuple[Callable[[Draw, Size], Image.Image], ...] = (
    background, noise, clouds, stripes, landscape, blurred,
)  # fmt: skip


@functools.cache
def photograph(split: Split) -> Image.Image:
    """The whole photograph of a split. Raises MissingExtra without matplotlib or scikit-learn."""
    try:
        if split == "train":
            from matplotlib.cbook import get_sample_data

            return Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
        from sklearn.datasets import load_sample_image

        name = {"validation": "china.jpg", "test": "flower.jpg"}[split]
        return Image.fromarray(load_sample_image(name))
    except ImportError as error:
        raise MissingExtra("Drawing MicroScenes", "engine") from error


def _part_of_photograph(rng: Draw, size: Size, split: Split) -> Image.Image:
    """A part of the split's photograph, mirrored every other time."""
    photo = photograph(split)
    share = rng.uniform(LEAST_CROP, 1.0)
    width, height = (int(side * share) for side in photo.size)
    x, y = (int(rng.integers(a - b + 1)) for a, b in zip(photo.size, (width, height), strict=True))
    part = photo.crop((x, y, x + width, y + height))
    if rng.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return part.resize(size, Image.Resampling.BICUBIC)
