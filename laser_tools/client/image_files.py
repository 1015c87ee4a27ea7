"""Images as the files that a worker is sent: named by their hash, encoded once.

Lossless, so that an answer is the one that this process would give; only what is too large for a
worker as PNG (most photographs above 6 megapixels) goes as JPEG, as little lossy as fits.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from PIL import Image

from laser_tools.images.decode import DEFAULT_LIMITS
from laser_tools.images.upright import UprightImage

DEFAULT_BUDGET_BYTES = 64 * 2**20
JPEG_QUALITIES = (95, 85, 70)


@dataclass(frozen=True)
class ImageFile:
    """A file's bytes and their sha256 in hex, by which the worker knows it."""

    sha256: str
    content: bytes = field(repr=False)
    content_type: str
    size: tuple[int, int]  # width, height in pixels


class ImageFiles:
    """The files of the images asked about last, at most `budget_bytes` of them."""

    def __init__(self, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> None:
        self._budget_bytes = budget_bytes
        self._held_bytes = 0
        self._files: OrderedDict[str, ImageFile] = OrderedDict()  # by the image's sha256
        self._lock = threading.Lock()  # held while encoding: twins wait for one result

    def file_of(self, image: UprightImage) -> ImageFile:
        """The image's RGB pixels as a file."""
        with self._lock:
            found = self._files.pop(image.sha256, None)
            if found is None:
                found = _encode(image.pixels)
                self._held_bytes += len(found.content)
            self._files[image.sha256] = found
            self._drop_oldest()
        return found

    def _drop_oldest(self) -> None:
        while self._held_bytes > self._budget_bytes:
            _, dropped = self._files.popitem(last=False)
            self._held_bytes -= len(dropped.content)


def _encode(image: Image.Image) -> ImageFile:
    content, content_type = _saved(image, "PNG", compress_level=1), "image/png"
    for quality in JPEG_QUALITIES:
        if len(content) <= DEFAULT_LIMITS.max_bytes:
            break
        content = _saved(image, "JPEG", quality=quality, subsampling=0)
        content_type = "image/jpeg"
    return ImageFile(hashlib.sha256(content).hexdigest(), content, content_type, image.size)


def _saved(image: Image.Image, format_: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()
