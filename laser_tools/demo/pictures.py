"""An answer's pictures, small enough for a browser."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from laser_tools.images.upright import UprightImage
from laser_tools.schema import Box, GroundedAnswer, Localisation

MAX_SIDE_PX = 1280  # of what is shown; 40 megapixels would take a browser seconds
CELL_PX = 8  # pixels drawn for a cell of the map; the browser stretches them smoothly
HEAT = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""Five colours of matplotlib's "inferno", evenly spaced (CC0, by N. Smith and S. van der Walt)."""
EVIDENCE, CROP = "evidence", "crop"

Mask = NDArray[np.float64]  # rows x columns of an image, 0-1

FILL = 20  # of 255: the inside of a box
LINES_PER_SIDE = 150  # lines are this fraction of the longer side


@dataclass(frozen=True)
class Shown:
    """An image as it is shown: no side longer than MAX_SIDE_PX, boxes scaled with it."""

    pixels: Image.Image
    original: tuple[int, int]

    @classmethod
    def of(cls, image: UprightImage) -> Shown:
        width, height = image.size
        scale = min(1.0, MAX_SIDE_PX / max(width, height))
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        return cls(image.pixels.resize(size, reducing_gap=2.0), image.size)

    def outlines(self, answer: GroundedAnswer) -> list[tuple[Mask, str]]:
        """A mask and a name for each box, as gradio's AnnotatedImage takes them; crops lie below.

        Gradio's own boxes are half filled, which hides what they are about.
        """
        named = [(box, CROP) for box in answer.crop_boxes]
        named += [(found.box, EVIDENCE) for found in answer.evidence]
        return [(self._outline(box), name) for box, name in named]

    def _outline(self, box: Box) -> Mask:
        mask = Image.new("L", self.pixels.size)
        scale_x, scale_y = (now / was for now, was in zip(mask.size, self.original, strict=True))
        left, top = round(box.x0 * scale_x), round(box.y0 * scale_y)
        right, bottom = round(box.x1 * scale_x), round(box.y1 * scale_y)
        corners = (left, top, max(right - 1, left), max(bottom - 1, top))  # Pillow's are inclusive
        line = max(2, round(max(mask.size) / LINES_PER_SIDE))
        ImageDraw.Draw(mask).rectangle(corners, fill=FILL, outline=255, width=line)
        return np.asarray(mask) / 255


def heat_layer(where: Localisation) -> Image.Image:
    """The map in colour; a cell is as opaque as it is strong, and one of zero is not there.

    Strength is the square root of the value over the highest: a map is often one bright cell.
    """
    rows, columns = len(where.map), len(where.map[0])
    top = max(max(row) for row in where.map) or 1.0
    strength = Image.new("L", (columns, rows))
    strength.putdata([round(255 * (value / top) ** 0.5) for row in where.map for value in row])
    smooth = strength.resize((columns * CELL_PX, rows * CELL_PX), Image.Resampling.BICUBIC)
    layer = smooth.copy()
    layer.putpalette([channel for level in range(256) for channel in _heat(level / 255)])
    coloured = layer.convert("RGB")
    coloured.putalpha(smooth)
    return coloured


def _heat(level: float) -> tuple[int, int, int]:
    """The colour of a level between 0 and 1."""
    below = min(int(level * (len(HEAT) - 1)), len(HEAT) - 2)
    part = level * (len(HEAT) - 1) - below
    r, g, b = (round(a + part * (z - a)) for a, z in zip(*HEAT[below : below + 2], strict=True))
    return r, g, b


def data_url(image: Image.Image, kind: str) -> str:
    """The image inside a URL, as PNG or JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, kind.upper(), quality=85, subsampling=0)  # thin red lines stay red
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
