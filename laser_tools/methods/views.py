"""What the two streams see: the crop, and the same crop with its evidence hidden (eq. 7)."""

from __future__ import annotations

from PIL import ImageStat

from laser_tools.grounding.regions import Region
from laser_tools.images.upright import UprightImage
from laser_tools.options import MaskFill, ViewOptions

Images = tuple[UprightImage, ...]


def positive_view(image: UprightImage, region: Region, options: ViewOptions) -> Images:
    """The crop alone, or the whole image and then the crop."""
    crop = image.crop(region.crop)
    return (crop,) if options.view == "crop" else (image, crop)


def negative_view(image: UprightImage, region: Region, options: ViewOptions) -> Images:
    """The positive view of the image with its masked patches painted over, in both images."""
    return positive_view(masked(image, region, options.mask_fill), region, options)


def masked(image: UprightImage, region: Region, fill: MaskFill) -> UprightImage:
    """`image` with the region's masked boxes in its mean colour, or black."""
    painted = image.pixels
    colour = _mean_colour(image) if fill == "mean" else (0, 0, 0)
    boxes = [box.as_tuple() for box in region.masked]
    for box in boxes:
        painted.paste(colour, box)
    return UprightImage(painted, image.derived_sha256(f"masked {fill} {boxes}"))


def _mean_colour(image: UprightImage) -> tuple[int, int, int]:
    red, green, blue = (round(mean) for mean in ImageStat.Stat(image.pixels).mean)
    return red, green, blue
