"""Golden pixels: every orientation, mode and format shows the same upright picture."""

from __future__ import annotations

import pytest
from PIL import Image, ImageChops

from laser_tools.images import decode_image
from tests.hardening.golden import (
    CELL,
    COMBINATIONS,
    FORMATS,
    GRID,
    SHOWN_AT,
    WHITE,
    golden,
    golden_file,
    paint,
    worst_difference,
)
from tests.hardening.image_files import chunk, encode, png


@pytest.mark.parametrize(("kind", "mode", "orientation"), COMBINATIONS)
def test_golden_pixels(kind: str, mode: str, orientation: int) -> None:
    data = golden_file(kind, mode, orientation)
    assert worst_difference(decode_image(data), golden(mode)) <= FORMATS[kind][2]


@pytest.mark.parametrize("orientation", SHOWN_AT)
def test_a_box_lies_where_it_is_seen(orientation: int) -> None:
    """The one dark cell of the upright picture has the same box for every stored orientation."""
    grid = GRID if orientation < 5 else GRID[::-1]
    show = SHOWN_AT[orientation]
    image = paint("L", grid, lambda x, y: 0 if show(x, y, *grid) == (2, 0) else 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = decode_image(encode(image, "PNG", exif=exif))
    assert ImageChops.invert(upright).getbbox() == (2 * CELL, 0, 3 * CELL, CELL)


def test_sixteen_bit_grey_with_a_transparent_value() -> None:
    row = b"\0" + b"\x9c\x40" * 20 + b"\x9c\x41" * 20  # 40000, declared clear, and 40001
    data = png((40, 30), row * 30, depth=16, before=chunk(b"tRNS", b"\x9c\x40"))
    image = decode_image(data)
    assert (image.getpixel((5, 5)), image.getpixel((25, 5))) == (WHITE, (156, 156, 156))


def test_palette_with_alpha_is_laid_on_white() -> None:
    palette = chunk(b"PLTE", bytes([200, 0, 0, 0, 0, 200])) + chunk(b"tRNS", b"\x00\xff")
    data = png((40, 30), (b"\0" + b"\0" * 20 + b"\1" * 20) * 30, colour=3, before=palette)
    image = decode_image(data)
    assert (image.getpixel((5, 5)), image.getpixel((25, 5))) == (WHITE, (0, 0, 200))
