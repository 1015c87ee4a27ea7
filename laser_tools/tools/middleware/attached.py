"""Images that people attach become handles: named beside each picture, kept or hidden.

Only what the chat model is sent is changed. The messages stay as they were stored, and the handles
are noted in the state beside them; no step is added to the agent's graph.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from langchain.agents.middleware import (
    AgentMiddleware,
    ExtendedModelResponse,
    ModelRequest,
    ModelResponse,
    ToolCallRequest,
)
from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage
from langgraph.config import get_config
from langgraph.types import Command

from laser_tools.errors import ImageRejected
from laser_tools.images.originals import at_hand
from laser_tools.images.store import ImageStore
from laser_tools.tools.base import thread_of
from laser_tools.tools.delivery import UserImages
from laser_tools.tools.middleware.blocks import Attachment, Block, attachment
from laser_tools.tools.middleware.history import NOTES, AttachedState, History, Naming

Response = ModelResponse[Any] | ExtendedModelResponse[Any]
ToolReply = ToolMessage | Command[Any]


class AttachedImages(AgentMiddleware[AttachedState, Any, Any]):
    """Middleware for `create_agent`; `LaserToolkit.middleware()` makes it.

    Every image in a human message gets a handle, which is announced before it as
    `[image img_1, 672x896]`. One that is rejected is replaced by the reason; a URL is not opened.
    """

    state_schema = AttachedState

    def __init__(self, images: ImageStore, user_images: UserImages = "keep") -> None:
        super().__init__()
        self._images = images
        self._user_images: UserImages = user_images

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> Response:
        told, history, update = self._named(request)
        with at_hand(history):
            return _noted(handler(told), update)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> Response:
        told, history, update = await asyncio.to_thread(self._named, request)
        with at_hand(history):
            return _noted(await handler(told), update)

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolReply]
    ) -> ToolReply:
        with at_hand(self._recalled(request.state)):
            return handler(request)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolReply]]
    ) -> ToolReply:
        with at_hand(await asyncio.to_thread(self._recalled, request.state)):
            return await handler(request)

    def _named(
        self, request: ModelRequest[Any]
    ) -> tuple[ModelRequest[Any], History, dict[str, Any] | None]:
        """The request with its images announced, where to find them, and the state's new notes."""
        thread_id = thread_of(get_config())
        naming = Naming(self._images, thread_id, request.state)
        messages = [self._announced(message, naming) for message in request.messages]
        naming.name_crops(request.messages)
        history = History(thread_id, naming.notes(), request.messages)
        return request.override(messages=messages), history, naming.update()

    def _recalled(self, state: Mapping[str, Any]) -> History:
        """The conversation's handles, for a tool that may be the first to run in this process."""
        thread_id = thread_of(get_config())
        naming = Naming(self._images, thread_id, state)
        naming.name_crops(state["messages"])
        return History(thread_id, naming.notes(), state["messages"])

    def _announced(self, message: AnyMessage, naming: Naming) -> AnyMessage:
        if not isinstance(message, HumanMessage) or isinstance(message.content, str):
            return message
        content = [shown for block in message.content for shown in self._shown(block, naming)]
        if content == message.content:
            return message
        return message.model_copy(update={"content": _as_text(content) or content})

    def _shown(self, block: str | Block, naming: Naming) -> Sequence[str | Block]:
        """A block as it was, or an image with its handle, or the reason why it has none."""
        found = attachment(block)
        if found is None:
            return [block]
        line, is_shown = _line(found, naming)
        told = {"type": "text", "text": line}
        return [told, block] if is_shown and self._user_images == "keep" else [told]


def _line(found: Attachment, naming: Naming) -> tuple[str, bool]:
    """The announcement of an image, and whether a planner can be sent it."""
    try:
        handle = naming.name(found)
    except ImageRejected as error:
        return f"[image rejected: {error.public_text}]", found.is_reference
    width, height = naming.size(handle)
    return f"[image {handle}, {width}x{height}]", True


def _as_text(content: Sequence[str | Block]) -> str | None:
    """Content that is text alone as a string: planners without eyes may take nothing else."""
    texts = [block if isinstance(block, str) else _plain_text(block) for block in content]
    return "\n".join(text for text in texts if text is not None) if None not in texts else None


def _plain_text(block: Block) -> str | None:
    return str(block["text"]) if block.keys() == {"type", "text"} else None


def _noted(response: ModelResponse[Any], update: dict[str, Any] | None) -> Response:
    if update is None:
        return response
    return ExtendedModelResponse(response, Command(update={NOTES: update}))
