"""The handles of one conversation: `img_1` is an original, `img_1.c1` a part of it.

A crop is a rectangle of its original, so boxes found in it map back by a shift.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from laser_tools.images.box import Box, clamp, whole
from laser_tools.images.originals import Kept
from laser_tools.images.upright import UprightImage

_HANDLE = re.compile(r"img_[0-9]{1,6}(\.c[0-9]{1,6}){0,16}")


@dataclass(frozen=True)
class Place:
    """The place of a handle: `box` in pixels of the upright original `root`."""

    handle: str
    root: str
    root_size: tuple[int, int]  # width, height in pixels
    box: Box

    def to_root(self, box: Box) -> Box:
        """A box in pixels of this place, as pixels of the original; clamped to the place."""
        inside = clamp(box, (self.box.width, self.box.height))
        return inside.moved(self.box.x0, self.box.y0)


@dataclass(frozen=True)
class View:
    """A handle's image and where it lies."""

    place: Place
    image: UprightImage


@dataclass
class Handles:
    """Names of originals and of rectangles in them. Numbers are never used twice."""

    digests: dict[str, str] = field(default_factory=dict)  # original's handle -> content
    boxes: dict[str, Box] = field(default_factory=dict)  # any handle -> pixels of its original
    n_children: dict[str, int] = field(default_factory=dict)  # "" has the originals

    def place(self, handle: str) -> Place | None:
        """The place that a handle names, if it names something."""
        root = handle.partition(".")[0]
        if handle not in self.boxes:
            return None
        whole_box = self.boxes[root]
        return Place(handle, root, (whole_box.x1, whole_box.y1), self.boxes[handle])

    def originals(self) -> dict[str, Kept]:
        """Every original that was named."""
        sizes = {root: (self.boxes[root].x1, self.boxes[root].y1) for root in self.digests}
        return {root: Kept(digest, sizes[root]) for root, digest in self.digests.items()}

    def name(self, kept: Kept) -> str:
        """The handle of an original, a new one for new content."""
        known = (handle for handle, digest in self.digests.items() if digest == kept.sha256)
        handle = next(known, None)
        if handle is None:
            handle = f"img_{self.n_children.get('', 0) + 1}"
            self.bind(handle, kept)
        return handle

    def name_crop(self, parent: Place, box: Box) -> str:
        """The handle of a rectangle of the original that lies in `parent`."""
        if box == parent.box:
            return parent.handle
        depth = parent.handle.count(".") + 1
        for handle, known in self.boxes.items():
            is_child = handle.count(".") == depth and handle.startswith(f"{parent.handle}.")
            if is_child and known == box:
                return handle
        handle = f"{parent.handle}.c{self.n_children.get(parent.handle, 0) + 1}"
        self._set(handle, box)
        return handle

    def bind(self, handle: str, kept: Kept) -> None:
        """Let a handle name this original; if it named another, that one's crops are let go."""
        if not is_original(handle) or self.digests.get(handle) == kept.sha256:
            return
        for crop in [crop for crop in self.boxes if crop.startswith(f"{handle}.")]:
            del self.boxes[crop]
        self.digests[handle] = kept.sha256
        self._set(handle, whole(kept.size))

    def bind_crop(self, handle: str, box: Box, root_size: tuple[int, int]) -> None:
        """Let a handle name a rectangle of its original, if that one is known and of this size."""
        place = self.place(handle.partition(".")[0])
        if place is None or place.root_size != root_size or not is_crop(handle):
            return
        if box.x1 <= root_size[0] and box.y1 <= root_size[1]:
            self._set(handle, box)

    def learn(self, originals: Mapping[str, Kept]) -> None:
        """Bind those handles that name nothing yet."""
        for handle, kept in originals.items():
            if handle not in self.digests:
                self.bind(handle, kept)

    def _set(self, handle: str, box: Box) -> None:
        self.boxes[handle] = box
        parent, _, last = handle.rpartition(".")
        number = int(re.sub(r"[^0-9]", "", last))
        self.n_children[parent] = max(self.n_children.get(parent, 0), number)


def is_handle(text: str) -> bool:
    """True of a text that has the form of a handle."""
    return _HANDLE.fullmatch(text) is not None


def is_original(text: str) -> bool:
    """True of a text that has the form of an original's handle."""
    return is_handle(text) and "." not in text


def is_crop(text: str) -> bool:
    """True of a text that has the form of a crop's handle."""
    return is_handle(text) and "." in text
