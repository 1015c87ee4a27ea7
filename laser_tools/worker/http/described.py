"""The OpenAPI document beyond its types: bodies of bytes, headers, refusals.

The routes read these by themselves (`routes`, `body`, `journal`), so FastAPI does not know of them.
"""

from __future__ import annotations

from typing import Any

from fastapi.routing import APIRoute

from laser_tools.wire import DEADLINE_HEADER, EVENT_STREAM, REQUEST_ID_HEADER, ErrorBody

Responses = dict[int | str, dict[str, Any]]

SUMMARY = """Questions about images, answered with evidence.

Put an image's bytes under their SHA-256, then ask about that hash. Boxes are half-open, in pixels
of the upright image. Every refusal is an ErrorBody that says what to do."""

TAGS = [
    {"name": "images", "description": "Images, named by the SHA-256 of their file"},
    {"name": "questions", "description": "What is in an image, and where"},
    {"name": "operation", "description": "Probes and metrics"},
]

_BINARY = {"schema": {"type": "string", "format": "binary"}}
IMAGE_BODY = {
    "required": True,
    "description": "A PNG, JPEG or WebP file's bytes, whose SHA-256 the path names",
    "content": {"application/octet-stream": _BINARY},
}
PNG = {"image/png": _BINARY}
TEXT = {"text/plain": {"schema": {"type": "string"}}}
EVENTS = {
    EVENT_STREAM: {
        "schema": {
            "type": "string",
            "description": "Server-Sent Events, each with a name and JSON. Any number of `stage` "
            "(`stage`: encode, attend, crop or decode) and `token` (`token`: text that goes on the "
            "answer after its first `start` characters, and replaces what was there), then one "
            "`answer` (a GroundedAnswer) or one `error` (an ErrorBody). Lines that begin with a "
            "colon keep the connection open.",
        },
        "example": 'event: stage\ndata: {"stage":"decode"}\n\n'
        'event: token\ndata: {"token":"511","start":0}\n\n'
        'event: answer\ndata: {"answer":"511","confidence":0.97}\n\n',
    }
}


def _header(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description,
            "schema": schema}  # fmt: skip


HEADERS = [
    _header(
        DEADLINE_HEADER,
        "Seconds that the caller still waits; work that is late is stopped",
        {"type": "number", "exclusiveMinimum": 0, "examples": [30]},
    ),
    _header(
        REQUEST_ID_HEADER,
        "The caller's name for this request, which the response and the log repeat",
        {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    ),
]

_ID = {
    REQUEST_ID_HEADER: {
        "description": "The caller's, or a new one",
        "schema": {"type": "string"},
    }
}
_RETRY = {
    "Retry-After": {
        "description": "Seconds until it is worth trying again",
        "schema": {"type": "integer", "minimum": 1},
    }
}
_REASONS = {
    400: "The bytes are no image that is accepted",
    401: "No key, or a wrong one",
    404: "The worker does not hold this image (any more): put it again",
    408: "The body came too slowly",
    413: "The body is too large, or the image for the model's memory",
    415: "Encoded, or not the type that the route takes",
    422: "The request cannot be served as it is",
    429: "The key has used up its share",
    500: "A fault of the worker",
    503: "Busy, loading or about to end",
    504: "The deadline is over",
}
TOLD: Responses = {200: {"headers": _ID}}
REFUSALS: Responses = {
    **TOLD,
    **{
        status: {
            "model": ErrorBody,
            "description": reason,
            "headers": {**_ID, **(_RETRY if status in (429, 503) else {})},
        }
        for status, reason in _REASONS.items()
    },
}
PROBES: Responses = {
    503: {
        "description": "Not now: the status says why",
        "content": {"application/json": {"schema": {"type": "object"}}},
        "headers": {**_ID, **_RETRY},
    }
}


def operation_id(route: APIRoute) -> str:
    """The name of a route's function: `put_image`, `answer` ..."""
    return route.name
