"""Bytes -> upright RGB image, or `ImageRejected`. The only `Image.open` of the package.

Whoever sent the bytes may be hostile. So: three formats, our own ceilings (checked on the header
before a pixel is decoded), one public text for every decoding failure, and a result that holds
pixels and nothing else (no metadata, no file, no lazy frame).
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from laser_tools.errors import ImageRejected
from laser_tools.images.guards import check_container
from laser_tools.images.orientation import upright

FORMATS = ("PNG", "JPEG", "WEBP")
UNDECODABLE = (
    "The image could not be decoded. Send the bytes of one complete PNG, JPEG or WebP file."
)
_DEEP_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV")


@dataclass(frozen=True)
class ImageLimits:
    """What is accepted; the defaults bound a request to about 120 MB of RGB."""

    max_bytes: int = 12 * 2**20
    max_pixels: int = 40_000_000
    min_side_px: int = 28  # the smallest image a Qwen-style processor (14 px x 2) takes
    max_side_px: int = 16_384
    max_aspect: int = 100


DEFAULT_LIMITS = ImageLimits()


def decode_image(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """Decode the first frame of a PNG, JPEG or WebP file to an upright RGB image.

    EXIF orientation is applied, transparency is laid on white, 16-bit grey is scaled to 8 bits
    (not clipped), colour profiles are not applied.

    Raises:
        ImageRejected: not bytes, too large, or not decodable; the text is safe to show.
    """
    _check_bytes(data, limits)
    check_container(data)
    image = _open(data)
    return upright_rgb(image, limits)


def upright_rgb(image: Image.Image, limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """A PIL image as upright RGB pixels within `limits`; always a new image.

    Raises:
        ImageRejected: a size outside the limits, a mode without a defined range, broken pixels.
    """
    _check_size(image.size, limits)
    if image.mode not in (*_MODES, *_DEEP_GREY):
        raise ImageRejected("An image must be grey, palette, RGB, CMYK or YCbCr, of 8 or 16 bits.")
    try:
        image.load()
        rgb = _to_rgb(upright(image))
    except Exception:  # Pillow's decoders raise anything: OSError, SyntaxError, struct.error ...
        raise ImageRejected(UNDECODABLE) from None
    rgb.info.clear()
    return rgb


def held_bytes(image: Image.Image) -> int:
    """The memory of an RGB image: Pillow keeps 4 bytes a pixel, 8 a row and about 1 KiB beside."""
    return (4 * image.width + 8) * image.height + 1024


def open_image_file(path: str | Path, limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """Read and decode a file whose path a person typed. Never reachable from a tool or a worker.

    Raises:
        ImageRejected: no such file, not a regular file, not readable, or not an accepted image.
    """
    return decode_image(read_image_file(path, limits), limits)


def read_image_file(path: str | Path, limits: ImageLimits = DEFAULT_LIMITS) -> bytes:
    """The bytes of a file, at most one byte more than the limit (so an oversized one is seen)."""
    if not Path(path).is_file():  # a pipe or a device would block or never end
        raise ImageRejected("There is no such image file. Check the path.")
    try:
        with Path(path).open("rb") as file:
            return file.read(limits.max_bytes + 1)
    except OSError:
        raise ImageRejected("The image file cannot be read. Check its permissions.") from None


def _check_bytes(data: bytes, limits: ImageLimits) -> None:
    if not isinstance(data, bytes):  # a str would be opened as a path
        raise ImageRejected("An image must be given as bytes.")
    if len(data) > limits.max_bytes:
        raise ImageRejected(f"An image file must be at most {limits.max_bytes // 2**20} MiB.")


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageRejected("The image has too many pixels. Scale it down.") from None
    except Exception:  # header parsers raise anything, and the text may hold an address
        raise ImageRejected(UNDECODABLE) from None


def _check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    short, long = sorted(size)
    if short < limits.min_side_px or long > limits.max_side_px:
        raise ImageRejected(
            f"An image must be {limits.min_side_px} to {limits.max_side_px} px on each side; "
            f"this one is {size[0]}x{size[1]}.",
        )
    if short * long > limits.max_pixels:
        raise ImageRejected(
            f"An image must have at most {limits.max_pixels / 1e6:g} megapixels; "
            f"this one is {size[0]}x{size[1]}. Scale it down.",
        )
    if long > limits.max_aspect * short:
        raise ImageRejected(
            f"An image must be at most {limits.max_aspect} times as long as wide; "
            f"this one is {size[0]}x{size[1]}.",
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP_GREY:
        image = _eight_bit_grey(image)
    if image.has_transparency_data:
        return _on_white(image)
    return image.convert("RGB")


@functools.cache
def _scale_16_to_8() -> list[int]:
    return [(value * 255 + 32767) // 65535 for value in range(65536)]


def _eight_bit_grey(image: Image.Image) -> Image.Image:
    """16-bit grey to L, or to LA when one grey value is declared transparent (PNG tRNS)."""
    clear = image.info.get("transparency")
    deep = image.convert("I")  # `point` with 65536 entries exists for this mode only
    grey = deep.point(_scale_16_to_8(), "L")
    grey.info.pop("transparency", None)
    if not isinstance(clear, int):
        return grey
    alpha = deep.point([0 if value == clear else 255 for value in range(65536)], "L")
    return Image.merge("LA", (grey, alpha))


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(rgba, mask=rgba.getchannel("A"))
    return white
