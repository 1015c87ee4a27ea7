"""Images in a message's content, in the block formats of LangChain and of the chat APIs.

| written by | block |
|---|---|
| LangChain | `{"type": "image", "base64": ...}`, `"url"`, or `"source_type"` with `"data"` |
| OpenAI, Completions | `{"type": "image_url", "image_url": {"url": ...}}`, also a bare string |
| OpenAI, Responses | `{"type": "input_image", "image_url": ...}` |
| Anthropic | `{"type": "image", "source": {"type": "base64", "data": ...}}` |
| Google | `{"type": "media", "mime_type": "image/...", "data": ...}` |
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage

from laser_tools.errors import ImageRejected

Block = dict[str, Any]
_NOT_BASE64 = "The image's data is not base64. Attach the file again."
_REFERENCE = "URLs and file ids are not opened. Attach the image itself."
_NO_DATA = "The image came without data. Attach the file again."
_REFERENCES = ("url", "file_id", "file_uri")
_SLACK = 1.05  # base64 may be broken into lines


@dataclass(frozen=True)
class Attachment:
    """An image as it was attached: base64 text, a data URL or bytes; or only referred to."""

    data: str | bytes | None
    is_reference: bool = False

    @property
    def digest(self) -> str:
        """The identity of the data as it came; the same image may come in several forms."""
        data = self.data or b""
        return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()

    def decoded(self, max_bytes: int) -> bytes:
        """The file's bytes.

        Raises:
            ImageRejected: it is a reference, no base64, or much longer than `max_bytes`.
        """
        if self.data is None:
            raise ImageRejected(_REFERENCE if self.is_reference else _NO_DATA)
        if isinstance(self.data, bytes):
            return self.data
        if len(self.data) > _SLACK * 4 / 3 * max_bytes + 200:
            raise ImageRejected(f"An image file must be at most {max_bytes // 2**20} MiB.")
        return _from_base64(self.data)


def attachments(messages: Sequence[BaseMessage]) -> Iterator[Attachment]:
    """The images that people attached, in order; those of tools and systems are not theirs."""
    for message in messages:
        if isinstance(message, HumanMessage) and isinstance(message.content, list):
            yield from filter(None, map(attachment, message.content))


def attachment(block: object) -> Attachment | None:
    """The image of a content block; None of text, audio and whatever else is no image."""
    if not isinstance(block, dict):
        return None
    read = _READERS.get(str(block.get("type")))
    return None if read is None else read(block)


def _image(block: Block) -> Attachment:
    source = block.get("source")
    parts = [block, source] if isinstance(source, dict) else [block]
    data = next((part[key] for part in parts for key in ("base64", "data") if part.get(key)), None)
    if isinstance(data, str | bytes):
        return Attachment(data)
    told = next((part[key] for part in parts for key in _REFERENCES if part.get(key)), None)
    return _addressed(told or (block.get("id") if block.get("source_type") == "id" else None))


def _image_url(block: Block) -> Attachment:
    url = block.get("image_url") or block.get("file_id")
    return _addressed(url.get("url") if isinstance(url, dict) else url)


def _media(block: Block) -> Attachment | None:
    kind = str(block.get("mime_type") or "")
    return _image(block) if kind.startswith("image/") else None


_READERS: dict[str, Callable[[Block], Attachment | None]] = {
    "image": _image,
    "image_url": _image_url,
    "input_image": _image_url,
    "media": _media,
    "file": _media,
}


def _addressed(value: object) -> Attachment:
    """A data URL is data; any other address or id is a reference."""
    if not isinstance(value, str) or not value:
        return Attachment(None)
    is_data = value[:5].lower() == "data:"
    return Attachment(value) if is_data else Attachment(None, is_reference=True)


def _from_base64(data: str) -> bytes:
    header, comma, text = data.partition(",")
    if comma and not re.fullmatch(r"data:[^,]{0,180};base64", header, re.IGNORECASE):
        raise ImageRejected(_NOT_BASE64)
    try:
        return base64.b64decode(re.sub(r"\s", "", text if comma else data), validate=True)
    except (binascii.Error, ValueError):
        raise ImageRejected(_NOT_BASE64) from None
