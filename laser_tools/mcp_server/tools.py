"""The three tools: what clients are told of them, and what each does in a session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mcp_types import CallToolResult, Tool, ToolAnnotations
from pydantic import BaseModel

from laser_tools.mcp_server.contents import seen_result, told_result
from laser_tools.mcp_server.folder import ImageFolder
from laser_tools.mcp_server.inputs import AddImageInput, AddImageOrPathInput
from laser_tools.mcp_server.outputs import Added, Answer, Places
from laser_tools.tools.base import LaserTool
from laser_tools.tools.conversation import Conversation, Seen
from laser_tools.tools.inputs import GroundedVQAInput, ZoomToEvidenceInput
from laser_tools.tools.langchain import LaserGroundedVQA, LaserZoomToEvidence

ADD_IMAGE = (
    "Give this session an image; get the handle (img_1, img_2 ...) by which the other tools know "
    "it. Other sessions cannot see it."
)
READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
ADDS = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)


@dataclass(frozen=True)
class SessionTool:
    """A tool as clients see it, its arguments, and its body."""

    tool: Tool
    arguments: type[BaseModel]
    call: Callable[[Conversation, Any], Awaitable[CallToolResult]]


def session_tools(folder: ImageFolder | None) -> dict[str, SessionTool]:
    """All tools by name. With a folder, `add_image` takes paths in it."""

    async def add(conversation: Conversation, given: AddImageInput) -> CallToolResult:
        return await _add(conversation, given, folder)

    added = AddImageOrPathInput if folder else AddImageInput
    tools = [
        _tool("add_image", ADD_IMAGE, ADDS, added, Added, add),
        _tool(*_told(LaserGroundedVQA), READS, GroundedVQAInput, Answer, _ask),
        _tool(*_told(LaserZoomToEvidence), READS, ZoomToEvidenceInput, Places, _find),
    ]
    return {made.tool.name: made for made in tools}


def _told(tool: type[LaserTool]) -> tuple[str, str]:
    """A LangChain tool's name and description, which are the same here."""
    return tool.model_fields["name"].default, tool.model_fields["description"].default


def _tool(
    name: str,
    description: str,
    hints: ToolAnnotations,
    arguments: type[BaseModel],
    result: type[BaseModel],
    call: Callable[[Conversation, Any], Awaitable[CallToolResult]],
) -> SessionTool:
    tool = Tool(
        name=name,
        description=description,
        input_schema=arguments.model_json_schema(),
        output_schema=result.model_json_schema(),
        annotations=hints,
    )
    return SessionTool(tool, arguments, call)


async def _add(
    conversation: Conversation, given: AddImageInput, folder: ImageFolder | None
) -> CallToolResult:
    data = await asyncio.to_thread(_bytes, given, folder)
    place = await conversation.add(data)
    added = Added(image=place.handle, size=list(place.root_size))
    return told_result(added.model_dump_json())


def _bytes(given: AddImageInput, folder: ImageFolder | None) -> bytes:
    if folder and isinstance(given, AddImageOrPathInput) and given.path:
        return folder.read(given.path)
    return given.decoded()


async def _ask(conversation: Conversation, given: GroundedVQAInput) -> CallToolResult:
    return await _shown(
        conversation, await conversation.ask(given.image, given.question, given.choices)
    )


async def _find(conversation: Conversation, given: ZoomToEvidenceInput) -> CallToolResult:
    return await _shown(
        conversation, await conversation.find(given.image, given.what, given.n_regions)
    )


async def _shown(conversation: Conversation, seen: Seen) -> CallToolResult:
    images, session = conversation.images, conversation.thread_id
    return await asyncio.to_thread(seen_result, seen, images, session)
