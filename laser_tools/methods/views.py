"""What the two streams see: the crop, and the same crop with its evidence hidden (eq. 7)."""

from __future__ import annotations

from PIL import Image, ImageStat

from laser_tools.grounding.regions import Region
from laser_tools.options import MaskFill, ViewOptions

Images = tuple[Image.Image, ...]


def positive_view(image: Image.Image, region: Region, options: ViewOptions) -> Images:
    """The crop alone, or the whole image and then the crop."""
    crop = image.crop(region.crop.as_tuple())
    return (crop,) if options.view == "crop" else (image, crop)


def negative_view(image: Image.Image, region: Region, options: ViewOptions) -> Images:
    """The positive view of the image with its masked patches painted over, in both images."""
    return positive_view(masked(image, region, options.mask_fill), region, options)


def masked(image: Image.Image, region: Region, fill: MaskFill) -> Image.Image:
    """A copy of `image` (RGB) with the region's masked boxes in its mean colour, or black."""
    copy = image.copy()
    colour = _mean_colour(image) if fill == "mean" else (0, 0, 0)
    for box in region.masked:
        copy.paste(colour, box.as_tuple())
    return copy


def _mean_colour(image: Image.Image) -> tuple[int, int, int]:
    red, green, blue = (round(mean) for mean in ImageStat.Stat(image).mean)
    return red, green, blue
