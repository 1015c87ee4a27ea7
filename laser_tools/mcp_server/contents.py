"""Results of a call as MCP content: JSON, pictures of the crops, links to them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from mcp_types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent

from laser_tools.images.store import ImageStore
from laser_tools.tools.conversation import Seen
from laser_tools.tools.delivery import DEFAULT_BUDGET_BYTES, encode_within
from laser_tools.tools.pictures import Picture, drawn

SCHEME = "laser://images/"
URI_TEMPLATE = SCHEME + "{image}"
JPEG = "image/jpeg"
MAX_RESOURCE_BYTES = 2 * 2**20


def seen_result(seen: Seen, images: ImageStore, session: str) -> CallToolResult:
    """The JSON, and each crop as a picture and as a link to it."""
    pictures = _pictures(seen.crops, images, session)
    links = [_link(crop) for crop in seen.crops]
    return _result(seen.text, [*pictures, *links])


def told_result(text: str) -> CallToolResult:
    """JSON alone."""
    return _result(text, [])


def refused_result(sentence: str) -> CallToolResult:
    """An error, which the model that called is to read."""
    return CallToolResult(content=[TextContent(text=sentence)], is_error=True)


def jpeg(image: str, images: ImageStore, session: str) -> bytes | None:
    """The pixels that a handle names. Raises UnknownImage."""
    return encode_within(images.get(image, session).image.pixels, MAX_RESOURCE_BYTES)


def text64(data: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(data).decode("ascii")


def _result(text: str, more: Sequence[ContentBlock]) -> CallToolResult:
    content = [TextContent(text=text), *more]
    return CallToolResult(content=content, structured_content=json.loads(text))


def _pictures(crops: Sequence[str], images: ImageStore, session: str) -> list[ImageContent]:
    """All crops within the budget of one result; one that does not fit is left out."""
    share = DEFAULT_BUDGET_BYTES * 3 // 4 // max(len(crops), 1)
    shown = drawn([Picture(crop) for crop in crops], images, session)
    encoded = (encode_within(pixels, share) for pixels in shown.values())
    return [ImageContent(data=text64(data), mime_type=JPEG) for data in encoded if data is not None]


def _link(crop: str) -> ResourceLink:
    return ResourceLink(uri=SCHEME + crop, name=crop, mime_type=JPEG)
