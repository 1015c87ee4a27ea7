"""The record of one request while it runs, and the one line that is logged of it.

The line holds these fields and no others: never a question, an answer, pixels, a key, or the text
of an exception.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic

from starlette.types import Scope

from laser_tools.wire import ANSWER_PATH, IMAGES_PATH, REQUEST_ID_HEADER, ZOOM_PATH

LIVEZ, READYZ, METRICS, OPENAPI = "/livez", "/readyz", "/metrics", "/openapi.json"
IMAGE_ROUTE = IMAGES_PATH + "/{sha256}"
ASK_ROUTES = (ANSWER_PATH, ZOOM_PATH)
OTHER = "other"
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH")

logger = logging.getLogger("laser_tools.worker")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_KEY = "laser_tools.record"  # in the ASGI scope


@dataclass
class Record:
    """One request; filled in by whoever learns something."""

    id: str
    trace: str
    method: str
    route: str  # a template, so that there are few
    since_s: float = field(default_factory=monotonic)
    key: int | None = None  # index of the caller's key
    status: int = 0  # 0 = no response began
    streaming: bool = False  # an event stream has begun, and its last event has not been sent
    code: str = ""  # of the refusal
    error: str = ""  # type of the exception behind an internal error
    bytes_in: int = 0
    bytes_out: int = 0
    image: str = ""  # first 8 digits of its hash
    stages_s: dict[str, float] = field(default_factory=dict)

    @property
    def age_s(self) -> float:
        return monotonic() - self.since_s

    def line(self) -> str:
        seen = {
            "event": "request",
            "id": self.id,
            "trace": self.trace,
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "code": self.code,
            "error": self.error,
            "key": self.key,
            "image": self.image,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "seconds": round(self.age_s, 4),
            "stages_s": {name: round(took, 4) for name, took in self.stages_s.items()},
        }
        return json.dumps({k: v for k, v in seen.items() if v not in ("", None, {})})


def begin(scope: Scope) -> Record:
    """The record of a request that has just arrived, kept in its scope."""
    record = Record(
        id=_matching(_ID, header(scope, REQUEST_ID_HEADER)) or secrets.token_hex(8),
        trace=_matching(_TRACEPARENT, header(scope, "traceparent")),
        method=scope["method"] if scope["method"] in METHODS else OTHER,
        route=route_of(path_of(scope)),
    )
    scope[_KEY] = record
    return record


def record_of(scope: Scope) -> Record:
    record: Record = scope[_KEY]
    return record


def path_of(scope: Scope) -> str:
    """The path as the router sees it: without the prefix under which the app is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def route_of(path: str) -> str:
    """The template of a path; all paths that we do not serve share one."""
    if path in (*ASK_ROUTES, LIVEZ, READYZ, METRICS, OPENAPI):
        return path
    return IMAGE_ROUTE if path.startswith(f"{IMAGES_PATH}/") else OTHER


def header(scope: Scope, name: str) -> str:
    """The first header of that name, or ""."""
    return next(headers(scope, name), "")


def headers(scope: Scope, name: str) -> Iterator[str]:
    """All headers of that name."""
    wanted = name.lower().encode()
    return (value.decode("latin-1") for key, value in scope["headers"] if key.lower() == wanted)


def log_event(event: str, **fields: object) -> None:
    """A line about the worker itself; its fields are ours, never a caller's."""
    logger.info(json.dumps({"event": event, **fields}))


def _matching(pattern: re.Pattern[str], text: str) -> str:
    """The first group, or all, of a text that matches as a whole; else ""."""
    match = pattern.fullmatch(text)
    return match[match.lastindex or 0] if match else ""
