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

from laser_tools.images.decode import DEFAULT_LIMITS, upright_rgb

DEFAULT_BUDGET_BYTES = 64 * 2**20
JPEG_QUALITIES = (95, 85, 70)
_Key = tuple[tuple[int, int], bytes]


@dataclass(frozen=True)
class ImageFile:
    """A file's bytes and their sha256 in hex, by which the worker knows it."""

    sha256: str
    content: bytes = field(repr=False)
    content_type: str
    size: tuple[int, int]  # width, height in pixels


class ImageFiles:
    """The files of the images asked about last, at most `budget_bytes` of them.

    Keyed by size and pixels, not by object: a picture that was drawn on is another picture.
    """

    def __init__(self, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> None:
        self._budget_bytes = budget_bytes
        self._held_bytes = 0
        self._files: OrderedDict[_Key, ImageFile] = OrderedDict()
        self._lock = threading.Lock()  # held while encoding: twins wait for one result

    def file_of(self, image: Image.Image) -> ImageFile:
        """The image's RGB pixels as a file.

        Raises:
            ImageRejected: a mode or size that no worker accepts.
        """
        upright = image if image.mode == "RGB" else upright_rgb(image)
        pixels = upright.tobytes()
        key = (upright.size, hashlib.sha256(pixels).digest())
        with self._lock:
            found = self._files.pop(key, None)
            if found is None:
                found = _encode(upright.size, pixels)
                self._held_bytes += len(found.content)
            self._files[key] = found
            self._drop_oldest()
        return found

    def _drop_oldest(self) -> None:
        while self._held_bytes > self._budget_bytes:
            _, dropped = self._files.popitem(last=False)
            self._held_bytes -= len(dropped.content)


def _encode(size: tuple[int, int], pixels: bytes) -> ImageFile:
    """Pixels alone: an image's `info` may hold a profile or a transparent colour."""
    image = Image.frombytes("RGB", size, pixels)
    content, content_type = _saved(image, "PNG", compress_level=1), "image/png"
    for quality in JPEG_QUALITIES:
        if len(content) <= DEFAULT_LIMITS.max_bytes:
            break
        content = _saved(image, "JPEG", quality=quality, subsampling=0)
        content_type = "image/jpeg"
    return ImageFile(hashlib.sha256(content).hexdigest(), content, content_type, size)


def _saved(image: Image.Image, format_: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()
