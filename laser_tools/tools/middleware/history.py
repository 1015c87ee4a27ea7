"""The images of a conversation as its state tells of them: what `AttachedImages` notes and reads.

The state holds a note of each handle, beside the messages and in the same checkpoint. So a handle
means the same in another process, after messages were trimmed and in a branch of the thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired

from langchain.agents.middleware import AgentState
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.messages import BaseMessage, ToolMessage
from pydantic import BaseModel, PositiveInt, TypeAdapter, ValidationError

from laser_tools.errors import ImageRejected
from laser_tools.images.handles import is_original
from laser_tools.images.originals import Kept
from laser_tools.images.store import ImageStore
from laser_tools.schema import Box
from laser_tools.tools.middleware.blocks import Attachment, attachments

NOTES = "laser_images"


class AttachedState(AgentState[Any]):
    """An agent's state with the notes of its images: plain JSON, `Noted` by handle."""

    laser_images: NotRequired[Annotated[dict[str, Any], PrivateStateAttr]]


class Noted(BaseModel, frozen=True):
    """An original: the identity of its pixels, its size, and the data it was attached as."""

    sha256: str
    size: tuple[PositiveInt, PositiveInt]
    files: tuple[str, ...] = ()

    @property
    def kept(self) -> Kept:
        return Kept(self.sha256, self.size)


class _Cut(BaseModel):
    """The crops of a tool's artifact, in pixels of the original."""

    image_size: tuple[int, int]
    crops: tuple[str, ...]
    crop_boxes: tuple[Box, ...]


_NOTES = TypeAdapter(dict[str, Noted])


@dataclass(frozen=True)
class History:
    """Originals that stand in a conversation's messages, found by its notes."""

    thread_id: str
    notes: Mapping[str, Noted]
    messages: Sequence[BaseMessage]

    def listed(self, thread_id: str) -> dict[str, Kept]:
        if thread_id != self.thread_id:
            return {}
        there = {found.digest for found in attachments(self.messages)}
        known = self.notes.items()
        return {handle: noted.kept for handle, noted in known if there.intersection(noted.files)}

    def read(self, thread_id: str, handle: str, sha256: str) -> bytes | None:
        noted = self.notes.get(handle)
        if thread_id != self.thread_id or noted is None or noted.sha256 != sha256:
            return None
        found = (each for each in attachments(self.messages) if each.digest in noted.files)
        return next((data for data in map(_file, found) if data is not None), None)


class Naming:
    """The handles of a conversation while its messages are read, on top of the notes so far."""

    def __init__(self, images: ImageStore, thread_id: str, state: Mapping[str, Any]) -> None:
        self._images = images
        self._thread_id = thread_id
        self._before = read_notes(state.get(NOTES))
        self._handles = {f: handle for handle, noted in self._before.items() for f in noted.files}
        images.bind({handle: noted.kept for handle, noted in self._before.items()}, thread_id)

    def name(self, found: Attachment) -> str:
        """The handle of an attached image. ImageRejected: it gets none, and why."""
        digest = found.digest
        if digest not in self._handles:
            data = found.decoded(self._images.limits.max_bytes)
            self._handles[digest] = self._images.add(data, self._thread_id)
        return self._handles[digest]

    def name_crops(self, messages: Iterable[BaseMessage]) -> None:
        """Give the crops that tools cut their handles again."""
        self._images.bind_crops(_crops(messages), self._thread_id)

    def size(self, handle: str) -> tuple[int, int]:
        """Width and height of an original in pixels."""
        return self._images.originals(self._thread_id)[handle].size

    def notes(self) -> dict[str, Noted]:
        """A note of every original that the thread has named, so that no number is used twice."""
        files: dict[str, list[str]] = {}
        for digest, handle in self._handles.items():
            files.setdefault(handle, []).append(digest)
        named = self._images.originals(self._thread_id).items()
        return {
            handle: Noted(sha256=kept.sha256, size=kept.size, files=tuple(files.get(handle, ())))
            for handle, kept in named
        }

    def update(self) -> dict[str, Any] | None:
        """What the state's notes become; None if they are that already."""
        now = self.notes()
        return None if now == self._before else _NOTES.dump_python(now, mode="json")


def read_notes(told: object) -> dict[str, Noted]:
    """The notes of a state; none where it has none, or damaged ones."""
    try:
        notes = _NOTES.validate_python(told)
    except ValidationError:
        return {}
    return {handle: noted for handle, noted in notes.items() if is_original(handle)}


def _file(found: Attachment) -> bytes | None:
    try:
        return found.decoded(len(found.data or b""))
    except ImageRejected:
        return None


def _crops(messages: Iterable[BaseMessage]) -> Iterator[tuple[str, Box, tuple[int, int]]]:
    for message in messages:
        if not isinstance(message, ToolMessage) or not isinstance(message.artifact, dict):
            continue
        try:
            cut = _Cut.model_validate(message.artifact)
        except ValidationError:  # another tool's, or damaged
            continue
        for handle, box in zip(cut.crops, cut.crop_boxes, strict=False):
            yield handle, box, cut.image_size
