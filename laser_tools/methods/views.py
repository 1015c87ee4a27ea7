"""What an answer is read from: the crop, or the same crop with its evidence hidden (eq. 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image, ImageStat

from laser_tools.grounding.regions import Region
from laser_tools.options import MaskFill, PromptOptions, VerifyOptions, ViewOptions
from laser_tools.schema import AnswerRequest
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.prompts import Prompt

Images = tuple[Image.Image, ...]

ViewRule = Callable[[Image.Image, Region, Any], Images]
"""(whole image, region, the method's options) -> the images of the prompt."""


def view_prompts(
    call: ModelCall,
    requests: Sequence[AnswerRequest],
    regions: Sequence[Region],
    options: PromptOptions,
    view: ViewRule,
) -> list[Prompt]:
    """What each request is answered from once its region is known."""
    with call.stage("crop"):
        views = [
            view(r.image, region, options) for r, region in zip(requests, regions, strict=True)
        ]
    pairs = zip(requests, views, strict=True)
    return [Prompt(images, r.question, options.answer_instruction) for r, images in pairs]


def positive_view(image: Image.Image, region: Region, options: ViewOptions) -> Images:
    """The crop alone, or the whole image and then the crop."""
    crop = image.crop(region.crop.as_tuple())
    return (crop,) if options.view == "crop" else (image, crop)


def negative_view(image: Image.Image, region: Region, options: VerifyOptions) -> Images:
    """The positive view of the image with its masked patches painted over, in both images."""
    return positive_view(masked(image, region, options.mask_fill), region, options)


def masked(image: Image.Image, region: Region, fill: MaskFill) -> Image.Image:
    """A copy of `image` (RGB) with the region's masked boxes in its mean colour, or black."""
    copy = image.copy()
    colour = fill_colour(image, fill)
    for box in region.masked:
        copy.paste(colour, box.as_tuple())
    return copy


def fill_colour(image: Image.Image, fill: MaskFill) -> tuple[int, int, int]:
    """What hidden pixels are painted with: the image's mean colour, or black."""
    return _mean_colour(image) if fill == "mean" else (0, 0, 0)


def _mean_colour(image: Image.Image) -> tuple[int, int, int]:
    red, green, blue = (round(mean) for mean in ImageStat.Stat(image).mean)
    return red, green, blue
