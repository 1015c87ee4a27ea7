"""The worker's HTTP contract, for the service and the client alike.

PUT  /v1/images/{sha256}             an image file's bytes -> ImageInfo (201, or 200 if it is there)
GET  /v1/images/{sha256}             its upright pixels as PNG; ?crop=x0,y0,x1,y1 cuts a box out
POST /v1/answer                      AnswerBody -> GroundedAnswer, or a stream of events
POST /v1/zoom                        ZoomBody -> ZoomResult
GET  /livez, /readyz
GET  /metrics                        with a key of its own

The deadline header holds for all of /v1. Any refusal is an `ErrorBody`; 429 and 503 carry
`Retry-After` in whole seconds.

A stream of Server-Sent Events is for who accepts `text/event-stream`. The last event has the name
"answer" and the same JSON as the response without a stream, or "error" and an `ErrorBody`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Annotated

from pydantic import ConfigDict, Field

from laser_tools.progress import Event, StageEvent, TokenEvent
from laser_tools.schema import Ask, Frozen, Look

IMAGES_PATH = "/v1/images"
ANSWER_PATH = "/v1/answer"
ZOOM_PATH = "/v1/zoom"
DEADLINE_HEADER = "X-Deadline-S"  # seconds that the caller still waits, above 0
REQUEST_ID_HEADER = "X-Request-Id"  # the caller's, or a new one; always in the response

EVENT_STREAM = "text/event-stream"
ANSWER_EVENT, ERROR_EVENT = "answer", "error"  # the last one of a stream
PROGRESS_EVENTS: Mapping[str, type[Event]] = {"stage": StageEvent, "token": TokenEvent}

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""The hash of an image file's bytes, by which both sides name it."""

_IMAGE_HELP = "The SHA-256 of the image file's bytes, in hex"
_EXAMPLE = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class AnswerBody(Ask):
    """A question about an image that the worker holds."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "image": _EXAMPLE,
                    "question": "What number is on the yellow square?",
                    "choices": ["511", "517"],
                    "max_error": 0.05,
                }
            ]
        }
    )

    image: Sha256 = Field(description=_IMAGE_HELP)


class ZoomBody(Look):
    """Where in an image that the worker holds is `what`?"""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"image": _EXAMPLE, "what": "the yellow square", "n_regions": 2}]
        }
    )

    image: Sha256 = Field(description=_IMAGE_HELP)


class ImageInfo(Frozen):
    """An image that the worker holds now; `size` is its upright width and height in pixels."""

    image: Sha256 = Field(description=_IMAGE_HELP)
    size: tuple[int, int] = Field(description="Width and height, upright, in pixels")


class ErrorDetail(Frozen):
    """`code` is for machines (`LaserError.code`), `message` one sentence for people."""

    code: str = Field(description="For machines")
    message: str = Field(description="One sentence for people: what was wrong, what to do")


class ErrorBody(Frozen):
    """The body of every refusal."""

    error: ErrorDetail


def is_loopback(host: str) -> bool:
    """True if only this machine can reach `host` (a name or an address): no key or TLS needed."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
