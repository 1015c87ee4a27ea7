"""Image files whose path a person typed. Never reachable from a tool or a worker."""

from __future__ import annotations

from pathlib import Path

from laser_tools.errors import ImageRejected
from laser_tools.images.decode import DEFAULT_LIMITS, ImageLimits, decode_image
from laser_tools.images.upright import UprightImage, hashed


def open_image_file(path: str | Path, limits: ImageLimits = DEFAULT_LIMITS) -> UprightImage:
    """Read and decode an image file.

    Raises:
        ImageRejected: no such file, not a regular file, not readable, or not an accepted image.
    """
    return hashed(decode_image(read_image_file(path, limits), limits))


def read_image_file(path: str | Path, limits: ImageLimits = DEFAULT_LIMITS) -> bytes:
    """The bytes of a file, at most one byte more than the limit (so an oversized one is seen)."""
    if not Path(path).is_file():  # a pipe or a device would block or never end
        raise ImageRejected("There is no such image file. Check the path.")
    try:
        with Path(path).open("rb") as file:
            return file.read(limits.max_bytes + 1)
    except OSError:
        raise ImageRejected("The image file cannot be read. Check its permissions.") from None
