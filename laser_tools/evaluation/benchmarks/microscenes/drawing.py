"""Scene -> pixels: texture, clutter, things, light, night, JPEG. Seeded by the scene."""

from __future__ import annotations

import io
from typing import get_args

import numpy as np
from PIL import Image, ImageDraw

from laser_tools.evaluation.benchmarks.microscenes.pictures import draw_picture
from laser_tools.evaluation.benchmarks.microscenes.scenes import Scene, Split
from laser_tools.evaluation.benchmarks.microscenes.surroundings import (
    background,
    coloured_clutter,
    grey_clutter,
    with_light,
)
from laser_tools.evaluation.benchmarks.microscenes.things import paint

COLOURED_CLUTTER_SHARE, NIGHT_SHARE, JPEG_SHARE = 0.3, 0.12, 0.5  # of the scenes
NIGHT_GAIN = (0.3, 0.55)
JPEG_QUALITY = (30, 95)


def draw_scene(scene: Scene) -> Image.Image:
    """The scene as an RGB image of `scene.size`."""
    rng = np.random.default_rng((*scene.seed, 1))
    image = _daylight(rng, scene)
    if rng.random() < NIGHT_SHARE:
        gain = rng.uniform(*NIGHT_GAIN)
        image = image.point(lambda value: value * gain)
    if rng.random() < JPEG_SHARE:
        image = _through_jpeg(image, int(rng.integers(*JPEG_QUALITY, endpoint=True)))
    return image


def _daylight(rng: np.random.Generator, scene: Scene) -> Image.Image:
    if scene.style == "picture":
        split: Split = get_args(Split)[scene.seed[1]]
        return with_light(rng, draw_picture(rng, scene.size, split))
    return with_light(rng, unlit(rng, scene))


def unlit(rng: np.random.Generator, scene: Scene) -> Image.Image:
    """Background, clutter and things in even light."""
    image = background(rng, scene.size)
    canvas = ImageDraw.Draw(image)
    grey_clutter(rng, canvas, scene)
    if rng.random() < COLOURED_CLUTTER_SHARE:
        coloured_clutter(rng, canvas, scene)
    for thing in scene.things:
        paint(rng, canvas, thing, scene.unit)
    return image


def _through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")
