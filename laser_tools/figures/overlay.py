"""The evidence drawn into the image it was found in, with Pillow alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw

from laser_tools.errors import InvalidRequest
from laser_tools.figures.style import LASER_COLOUR
from laser_tools.images.upright import UprightImage
from laser_tools.schema import Box, GroundedAnswer, ZoomResult

HALO, CROP_COLOUR = "#101418", "#ffffff"
LINES_PER_SIDE = 300  # so that a thumbnail shows them
DASH = 6  # lengths of a dash and of the gap after it, in line widths

Corners = tuple[int, int, int, int]


def evidence_image(
    image: Image.Image | UprightImage,
    answer: GroundedAnswer | ZoomResult,
    lines_per_side: int = LINES_PER_SIDE,
) -> Image.Image:
    """A copy of the image with the evidence outlined and the crops dashed.

    `image` is the one that was asked about; for a tool's result, whose boxes are in the original's
    frame, it is the original. Lines are the longer side's `lines_per_side`-th part wide.

    Raises:
        InvalidRequest: the image is not of the size that the answer is about.
        ImageRejected: no image.
    """
    upright = UprightImage.of(image)
    if upright.size != answer.image_size:
        said, (width, height) = "x".join(map(str, answer.image_size)), upright.size
        raise InvalidRequest(
            f"The answer is about an image of {said} px and this one is {width}x{height}: give the "
            "image that was asked about, for a tool's result the original."
        )
    evidence = [found.box for found in answer.evidence]
    return draw_boxes(upright.pixels, evidence, answer.crop_boxes, lines_per_side)


def draw_boxes(
    image: Image.Image,
    evidence: Sequence[Box],
    crops: Sequence[Box] = (),
    lines_per_side: int = LINES_PER_SIDE,
) -> Image.Image:
    """A copy of an RGB image with both kinds of boxes drawn around what they hold."""
    drawn = image.copy()
    pen = ImageDraw.Draw(drawn)
    width = max(2, round(max(image.size) / lines_per_side))
    for box in crops:
        _dashed(pen, box, width)
    for box in evidence:
        _outlined(pen, box, width)
    return drawn


def _outlined(pen: ImageDraw.ImageDraw, box: Box, width: int) -> None:
    """A line just outside the box, so that it hides nothing of it, and a dark one around that."""
    pen.rectangle(_grown(box, 2 * width), outline=HALO, width=width)
    pen.rectangle(_grown(box, width), outline=LASER_COLOUR, width=width)


def _grown(box: Box, by: int) -> Corners:
    """Its corners with `by` pixels more on each side; Pillow's are inclusive."""
    return box.x0 - by, box.y0 - by, box.x1 - 1 + by, box.y1 - 1 + by


def _dashed(pen: ImageDraw.ImageDraw, box: Box, width: int) -> None:
    """A line just inside the box, as a crop may be as large as the image."""
    pen.rectangle(_grown(box, 0), outline=HALO, width=width)
    for dash in _dashes(box, width):
        pen.rectangle(dash, fill=CROP_COLOUR)


def _dashes(box: Box, width: int) -> Iterator[Corners]:
    x0, y0, x1, y1 = _grown(box, 0)
    for x in range(x0, x1, 2 * DASH * width):
        end = min(x + DASH * width, x1)
        yield x, y0, end, min(y0 + width - 1, y1)
        yield x, max(y1 - width + 1, y0), end, y1
    for y in range(y0, y1, 2 * DASH * width):
        end = min(y + DASH * width, y1)
        yield x0, y, min(x0 + width - 1, x1), end
        yield max(x1 - width + 1, x0), y, x1, end
