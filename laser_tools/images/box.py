"""Boxes: half-open rectangles in integer pixels of an upright image."""

from __future__ import annotations

from pydantic import BaseModel, Field, model_validator

from laser_tools.errors import InvalidRequest


class Box(BaseModel, frozen=True, extra="forbid"):
    """A half-open rectangle in integer pixels of the upright original image."""

    x0: int = Field(ge=0, description="The first column")
    y0: int = Field(ge=0, description="The first row")
    x1: int = Field(description="The column after the last")
    y1: int = Field(description="The row after the last")

    @model_validator(mode="after")
    def _not_empty(self) -> Box:
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise ValueError("A box must have x0 < x1 and y0 < y1.")
        return self

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def area(self) -> int:
        return self.width * self.height

    def as_tuple(self) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1), as `PIL.Image.crop` takes it."""
        return self.x0, self.y0, self.x1, self.y1

    def normalised(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """The box in 0-1 of an image of `size` (width, height), rounded to 4 digits."""
        width, height = size
        x0, y0, x1, y1 = (self.x0 / width, self.y0 / height, self.x1 / width, self.y1 / height)
        return round(x0, 4), round(y0, 4), round(x1, 4), round(y1, 4)

    def moved(self, dx: int, dy: int) -> Box:
        """The box `dx` pixels further right and `dy` further down."""
        return Box(x0=self.x0 + dx, y0=self.y0 + dy, x1=self.x1 + dx, y1=self.y1 + dy)

    def intersection_area(self, other: Box) -> int:
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(width, 0) * max(height, 0)


def whole(size: tuple[int, int]) -> Box:
    """All of an image of `size` (width, height)."""
    return Box(x0=0, y0=0, x1=size[0], y1=size[1])


def rescaled(box: Box, size: tuple[int, int], other: tuple[int, int]) -> Box:
    """A box of an image of `size` (width, height), on the same image made as large as `other`."""
    if size == other:
        return box
    (width, height), (wanted_width, wanted_height) = size, other
    x0, x1 = _stretched(box.x0, box.x1, wanted_width / width)
    y0, y1 = _stretched(box.y0, box.y1, wanted_height / height)
    return Box(x0=x0, y0=y0, x1=x1, y1=y1)


def _stretched(low: int, high: int, scale: float) -> tuple[int, int]:
    """Both ends at the nearest whole pixel, at least one pixel apart."""
    start = round(low * scale)
    return start, max(round(high * scale), start + 1)


def clamp(box: Box, size: tuple[int, int]) -> Box:
    """The part of `box` inside an image of `size` (width, height).

    Raises:
        InvalidRequest: nothing of the box is inside.
    """
    width, height = size
    if box.x0 >= width or box.y0 >= height:
        raise InvalidRequest(f"The box lies outside the image, which is {width}x{height} px.")
    return Box(x0=box.x0, y0=box.y0, x1=min(box.x1, width), y1=min(box.y1, height))
