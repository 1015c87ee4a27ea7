"""Images by handle, so that a planner names an image and never copies one.

Handles belong to one thread (conversation); another thread cannot see them. Pixels are kept once
per content, up to a budget; past it the least recently used original is let go, and comes back
from an archive or from the conversation's history where there is one.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from PIL import Image

from laser_tools.errors import ImageRejected, UnknownImage
from laser_tools.images.box import Box
from laser_tools.images.decode import (
    DEFAULT_LIMITS,
    ImageLimits,
    check_size,
    decode_image,
    held_bytes,
    upright_rgb,
)
from laser_tools.images.handles import Handles, Place, View, is_handle
from laser_tools.images.originals import ImageArchive, Kept, Originals, originals_at_hand
from laser_tools.images.upright import UprightImage, hashed

DEFAULT_THREAD = "default"
MAX_LISTED = 20
WITHOUT_THREAD = (
    "An image of that name was added without a thread_id, and this conversation has one: "
    "give add_image the same thread_id."
)


class ImageStore:
    """Thread-scoped image handles over content-addressed pixels. Safe to use from many threads.

    `max_bytes` bounds the memory of the images held (one more image than fits is never refused, the
    least recently used ones go); `max_threads` bounds the conversations remembered. An `archive`
    keeps the originals for other processes, and for those that were let go here.
    """

    def __init__(
        self,
        limits: ImageLimits = DEFAULT_LIMITS,
        max_bytes: int = 512 * 2**20,
        max_threads: int = 1000,
        archive: ImageArchive | None = None,
    ) -> None:
        self.limits = limits
        self._max_bytes = max_bytes
        self._max_threads = max_threads
        self._archive = archive
        self._pixels: OrderedDict[str, UprightImage] = OrderedDict()
        self._threads: OrderedDict[str, Handles] = OrderedDict()
        self._lock = threading.RLock()

    def add(
        self, image: bytes | Image.Image | UprightImage, thread_id: str = DEFAULT_THREAD
    ) -> str:
        """Take an encoded file or an image; returns its handle (the same for equal pixels).

        Raises:
            ImageRejected: the bytes or the image are not accepted.
        """
        upright = self._upright(image)
        kept = Kept(upright.sha256, upright.size)
        self._learn(thread_id)
        with self._lock:
            self._keep(kept.sha256, upright)
            handle = self._thread(thread_id).name(kept)
        if self._archive is not None:
            data = image if isinstance(image, bytes) else _png(upright)
            self._archive.write(thread_id, handle, kept, data)
        return handle

    def add_crop(self, handle: str, box: Box, thread_id: str = DEFAULT_THREAD) -> str:
        """Name a rectangle of `handle`, given in that image's own pixels; clamped to it.

        The same rectangle has one handle, and the whole of an image is that image.

        Raises:
            UnknownImage: `handle` names nothing in this thread.
            InvalidRequest: the box lies outside the image.
        """
        parent, _ = self._find(handle, thread_id)
        with self._lock:
            return self._thread(thread_id).name_crop(parent, parent.to_root(box))

    def get(self, handle: str, thread_id: str = DEFAULT_THREAD) -> View:
        """The image that a handle names, with its place in the original.

        Raises:
            UnknownImage: listing the handles this thread does have.
        """
        place, sha256 = self._find(handle, thread_id)
        original = self._held(sha256) or self._fetched(place, sha256, thread_id)
        if original is None:
            raise UnknownImage(self._unknown_text(handle, thread_id))
        return View(place, original.crop(place.box))

    def bind(self, originals: Mapping[str, Kept], thread_id: str) -> None:
        """Let handles mean what a conversation's history says they do, whatever they meant here."""
        with self._lock:
            for handle, kept in originals.items():
                self._thread(thread_id).bind(handle, kept)
        self._learn(thread_id)

    def bind_crops(self, crops: Iterable[tuple[str, Box, tuple[int, int]]], thread_id: str) -> None:
        """The same for crops: handle, box and size (width, height) of the original, in its pixels.

        A crop of an original that is not known, or not of this size, is left out.
        """
        with self._lock:
            for handle, box, root_size in crops:
                self._thread(thread_id).bind_crop(handle, box, root_size)

    def originals(self, thread_id: str = DEFAULT_THREAD) -> dict[str, Kept]:
        """Every original that a thread has named, whether or not there are pixels of it."""
        with self._lock:
            return self._threads.get(thread_id, Handles()).originals()

    def sizes(self, thread_id: str = DEFAULT_THREAD) -> dict[str, tuple[int, int]]:
        """Every handle of a thread that `get` has pixels of -> (width, height)."""
        self._learn(thread_id)
        originals = self.originals(thread_id)
        elsewhere = [source.listed(thread_id) for source in self._sources()]
        with self._lock:
            kept = {
                root
                for root, original in originals.items()
                if original.sha256 in self._pixels
                or any(listed.get(root) == original for listed in elsewhere)
            }
            return {
                handle: (box.width, box.height)
                for handle, box in self._threads.get(thread_id, Handles()).boxes.items()
                if handle.partition(".")[0] in kept
            }

    def describe(self, thread_id: str = DEFAULT_THREAD) -> str:
        """The handles of a thread in one line: `img_1 (1920x1080), img_1.c1 (960x540)`."""
        sizes = self.sizes(thread_id)
        listed = [f"{handle} ({w}x{h})" for handle, (w, h) in list(sizes.items())[-MAX_LISTED:]]
        more = len(sizes) - len(listed)
        return ", ".join(listed) + (f" and {more} older" if more else "") or "none"

    def forget(self, thread_id: str) -> None:
        """Drop a thread's handles and files, and the pixels that no other thread names."""
        self._drop(thread_id)
        if self._archive is not None:
            self._archive.forget(thread_id)

    def _drop(self, thread_id: str) -> None:
        with self._lock:
            self._threads.pop(thread_id, None)
            named = {d for thread in self._threads.values() for d in thread.digests.values()}
            for digest in [digest for digest in self._pixels if digest not in named]:
                del self._pixels[digest]

    def _find(self, handle: str, thread_id: str) -> tuple[Place, str]:
        """The place of a handle and the identity of its original."""
        found = self._place(handle, thread_id)
        if found is None:
            self._learn(thread_id)
            found = self._place(handle, thread_id)
        if found is None:
            raise UnknownImage(self._unknown_text(handle, thread_id))
        return found

    def _place(self, handle: str, thread_id: str) -> tuple[Place, str] | None:
        with self._lock:
            thread = self._threads.get(thread_id, Handles())
            place = thread.place(handle)
            return None if place is None else (place, thread.digests[place.root])

    def _held(self, sha256: str) -> UprightImage | None:
        with self._lock:
            if sha256 in self._pixels:
                self._pixels.move_to_end(sha256)
            return self._pixels.get(sha256)

    def _fetched(self, place: Place, sha256: str, thread_id: str) -> UprightImage | None:
        """The original from outside; another version of a decoder may give it other pixels."""
        files = (source.read(thread_id, place.root, sha256) for source in self._sources())
        data = next((file for file in files if file is not None), None)
        try:
            upright = None if data is None else self._upright(data)
        except ImageRejected:  # a file that was damaged since
            return None
        if upright is None or upright.size != place.root_size:
            return None
        with self._lock:
            self._keep(sha256, upright)
        return upright

    def _sources(self) -> list[Originals]:
        return [source for source in (originals_at_hand(), self._archive) if source is not None]

    def _learn(self, thread_id: str) -> None:
        """Name what the archive has of a thread: this process may not have seen it."""
        listed = {} if self._archive is None else self._archive.listed(thread_id)
        if listed:
            with self._lock:
                self._thread(thread_id).learn(listed)

    def _upright(self, image: bytes | Image.Image | UprightImage) -> UprightImage:
        if isinstance(image, UprightImage):
            check_size(image.size, self.limits)
            return image
        if isinstance(image, Image.Image):
            return hashed(upright_rgb(image, self.limits))
        return hashed(decode_image(image, self.limits))

    def _thread(self, thread_id: str) -> Handles:
        thread = self._threads.setdefault(thread_id, Handles())
        self._threads.move_to_end(thread_id)
        if len(self._threads) > self._max_threads:
            self._drop(next(iter(self._threads)))
        return thread

    def _keep(self, sha256: str, image: UprightImage) -> None:
        self._pixels.setdefault(sha256, image)
        self._pixels.move_to_end(sha256)
        while len(self._pixels) > 1 and self._held_bytes() > self._max_bytes:
            self._pixels.popitem(last=False)

    def _held_bytes(self) -> int:
        return sum(held_bytes(image.pixels) for image in self._pixels.values())

    def _unknown_text(self, handle: str, thread_id: str) -> str:
        known = f"Known: {self.describe(thread_id)}."
        if not is_handle(handle):
            # Not echoed: it may be anything a planner was talked into.
            return (
                f"An image must be a handle; paths, URLs and image data are not accepted. {known}"
            )
        missed = self._place(handle, DEFAULT_THREAD) and not self._place(handle, thread_id)
        return f"Unknown image '{handle}'. {known}" + (f" {WITHOUT_THREAD}" if missed else "")


def _png(image: UprightImage) -> bytes:
    buffer = io.BytesIO()
    image.pixels.save(buffer, "PNG")
    return buffer.getvalue()
