"""A conversation's images and what can be asked about them, for any framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from laser_tools.images.handles import Place, View
from laser_tools.images.store import ImageStore
from laser_tools.schema import (
    AbstainRule,
    AnswerRequest,
    Box,
    GroundedAnswer,
    ZoomRequest,
    ZoomResult,
)
from laser_tools.tools.io import Progress, Stage, ToolIO, ToolName
from laser_tools.tools.reports import (
    answer_content,
    answer_in_root,
    artifact,
    zoom_content,
    zoom_in_root,
)


@dataclass(frozen=True)
class Seen:
    """An answer or a search, its boxes in pixels of the upright original, and its crops."""

    place: Place
    crops: tuple[str, ...]  # handles, in the order of `result.crop_boxes`
    result: GroundedAnswer | ZoomResult

    @property
    def text(self) -> str:
        """Short JSON for a planner."""
        if isinstance(self.result, ZoomResult):
            return zoom_content(self.result, self.place, self.crops)
        return answer_content(self.result, self.place, self.crops)

    @property
    def artifact(self) -> dict[str, Any]:
        """Plain JSON data for code."""
        return artifact(self.result, self.place, self.crops)


@dataclass(frozen=True)
class Conversation:
    """One thread of an image store, asked through `io`. Raises as the store and the engine do."""

    images: ImageStore
    thread_id: str
    io: ToolIO
    rule: AbstainRule = field(default_factory=AbstainRule)

    async def add(self, image: bytes) -> Place:
        """Take an image file's bytes; its place says the handle and the size."""
        handle = await self.io.work(self.images.add, image, self.thread_id)
        return self.images.get(handle, self.thread_id).place

    async def ask(self, image: str, question: str, choices: Sequence[str] = ()) -> Seen:
        """Answer a question about the image of that handle."""
        view = await self._view("grounded_vqa", image)
        request = AnswerRequest(
            image=view.image,
            question=question,
            choices=tuple(choices) or None,
            abstain_below=self.rule.abstain_below,
            max_error=self.rule.max_error,
            listener=self.io.listener("grounded_vqa", view.place.handle),
        )
        await self._tell("grounded_vqa", "model", view)
        answer = await self.io.answer(request)
        crops = self._crops(image, answer.crop_boxes)
        await self._tell("grounded_vqa", "done", view)
        return Seen(view.place, crops, answer_in_root(answer, view.place))

    async def find(self, image: str, what: str, n_regions: int = 1) -> Seen:
        """Find something in the image of that handle."""
        view = await self._view("zoom_to_evidence", image)
        request = ZoomRequest(image=view.image, what=what, n_regions=n_regions)
        await self._tell("zoom_to_evidence", "model", view)
        found = await self.io.zoom(request)
        crops = self._crops(image, found.crop_boxes)
        await self._tell("zoom_to_evidence", "done", view)
        return Seen(view.place, crops, zoom_in_root(found, view.place))

    async def _view(self, tool: ToolName, image: str) -> View:
        view = await self.io.work(self.images.get, image, self.thread_id)
        await self._tell(tool, "image", view)
        return view

    async def _tell(self, tool: ToolName, stage: Stage, view: View) -> None:
        await self.io.tell(Progress(tool, stage, view.place.handle))

    def _crops(self, image: str, boxes: Sequence[Box]) -> tuple[str, ...]:
        return tuple(self.images.add_crop(image, box, self.thread_id) for box in boxes)
