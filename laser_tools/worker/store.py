"""The images that a worker holds: per key, by the hash of their file, within a budget."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from PIL import Image

from laser_tools.errors import UnknownImage
from laser_tools.images import ImageLimits, decode_image
from laser_tools.schema import Box
from laser_tools.worker.refusals import HashMismatch

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MAX_DECODES = 2  # at once: each may hold a few hundred MB for a moment


class KeyedImages:
    """Upright RGB images. What one key has put there no other key can see.

    A key's images take at most `budget_bytes` of pixels; past it the least recently used go.
    To be called from the event loop only.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._images: defaultdict[int, OrderedDict[str, Image.Image]] = defaultdict(OrderedDict)

    def put(self, key: int, sha256: str, image: Image.Image) -> None:
        held = self._images[key]
        held[sha256] = image
        held.move_to_end(sha256)
        while len(held) > 1 and sum(map(pixel_bytes, held.values())) > self._budget_bytes:
            held.popitem(last=False)

    def get(self, key: int, sha256: str) -> Image.Image:
        """Raises UnknownImage, also for an image that only others hold."""
        held = self._images[key]
        if sha256 not in held:
            raise UnknownImage("This worker does not hold the image (any more). Send it again.")
        held.move_to_end(sha256)
        return held[sha256]

    def holds(self, key: int, sha256: str) -> bool:
        return sha256 in self._images[key]

    def held(self) -> tuple[int, int]:
        """How many images, and how many bytes of pixels, for all keys together."""
        images = [image for held in self._images.values() for image in held.values()]
        return len(images), sum(map(pixel_bytes, images))


class Codec:
    """Decodes and encodes off the event loop, a few at a time."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._threads = ThreadPoolExecutor(MAX_DECODES, thread_name_prefix="laser-images")

    async def checked(self, data: bytes, sha256: str) -> None:
        """Raises HashMismatch."""
        await self._run(_check_hash, data, sha256)

    async def decoded(self, data: bytes) -> Image.Image:
        """Raises ImageRejected."""
        return await self._run(decode_image, data, self._limits)

    async def png(self, image: Image.Image, box: Box | None) -> bytes:
        return await self._run(_png, image, box)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)


def pixel_bytes(image: Image.Image) -> int:
    return 3 * image.width * image.height


def _check_hash(data: bytes, sha256: str) -> None:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise HashMismatch


def _png(image: Image.Image, box: Box | None) -> bytes:
    """Re-encoded from the pixels, so that nothing else of the sender's file goes out."""
    buffer = io.BytesIO()
    (image.crop(box.as_tuple()) if box else image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
