"""LLaVA-1.5's squares: an image is padded to one, where its processor would cut off the sides.

LLaVA's own code fine-tunes and answers with `image_aspect_ratio pad`, the background being the
processor's mean colour (arXiv 2310.03744; `expand2square` in github.com/haotian-liu/LLaVA), and so
do the trainers that follow it. The checkpoints made of it for transformers name CLIP's processor
instead, which keeps the middle square: of 1920x1080 pixels, the outer 44 % are never seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

from PIL import Image
from transformers import BaseImageProcessor

LARGEST_SIDE_PX = 4096  # beyond, the image is made smaller first: a square of 16384 px is 0.8 GB


class PadsToSquare:
    """Part of an image processor: pads each image (PIL, RGB) to a square before anything else."""

    image_mean: Sequence[float]

    def process_image(self, image: Image.Image, *args: object, **kwargs: object) -> object:
        padded = squared(image, self.image_mean)
        return super().process_image(padded, *args, **kwargs)  # type: ignore[misc]


def uncropped(rules: BaseImageProcessor) -> BaseImageProcessor:
    """The image processor of a LLaVA-1.5, padding to squares where it would crop to them.

    One that knows about padding itself (`LlavaImageProcessor`) decides by its `do_pad`.
    """
    crops = getattr(rules, "do_center_crop", False)
    if isinstance(rules, PadsToSquare) or not crops:
        return rules
    if hasattr(rules, "pad_to_square") and not rules.do_pad:
        return rules
    padding, stock = copy(rules), type(rules)
    padding.__class__ = type(stock.__name__, (PadsToSquare, stock), {})  # saved under its own name
    padding.do_pad = False
    return padding


def squared(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    """`image` in the middle of a square of the `mean` colour (0-1 per channel)."""
    image = _at_most(image, LARGEST_SIDE_PX)
    width, height = image.size
    side = max(width, height)
    square = Image.new("RGB", (side, side), tuple(int(255 * share) for share in mean))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def _at_most(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    if scale >= 1:
        return image
    return image.resize([max(round(scale * px), 1) for px in image.size])
