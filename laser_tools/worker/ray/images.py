"""Images in Ray's object store: sent once for all questions about them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import ray
from PIL import Image

Ref = Any  # ray.ObjectRef; replicas on one node read one copy
BUDGET_BYTES = 256 * 2**20  # of pixels; past what the store may hold, Ray writes to its disk


class SharedImages:
    """References to the images asked about last. To be used in one event loop.

    By object, not by content: whoever asks twice about an image asks about the one that the worker
    holds. It is kept here as long as its reference, or another one could take its id.
    """

    def __init__(
        self, put: Callable[[Image.Image], Ref] = ray.put, budget_bytes: int = BUDGET_BYTES
    ) -> None:
        self._put = put
        self._budget_bytes = budget_bytes
        self._shared: OrderedDict[int, tuple[Image.Image, Ref]] = OrderedDict()

    async def ref(self, image: Image.Image) -> Ref:
        """What to send in place of the image. Twins that are first at the same time send two."""
        if id(image) not in self._shared:
            self._shared[id(image)] = image, await asyncio.to_thread(self._put, image)
        self._shared.move_to_end(id(image))
        ref = self._shared[id(image)][1]
        self._drop_oldest()
        return ref

    def forget(self, image: Image.Image) -> None:
        """Send it again next time."""
        self._shared.pop(id(image), None)

    def _drop_oldest(self) -> None:
        held = sum(sent_bytes(image) for image, _ in self._shared.values())
        while held > self._budget_bytes and len(self._shared) > 1:
            _, (image, _) = self._shared.popitem(last=False)
            held -= sent_bytes(image)


def sent_bytes(image: Image.Image) -> int:
    """What an RGB image takes once it is pickled."""
    return 3 * image.width * image.height
