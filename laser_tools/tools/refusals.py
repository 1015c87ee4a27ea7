"""Errors as a planner reads them: what was wrong, and what it can do next."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic.v1 import ValidationError as ValidationErrorV1

from laser_tools.errors import (
    DeadlineExceeded,
    ImageRejected,
    InvalidRequest,
    LaserError,
    Misconfigured,
    MissingExtra,
    ModelUnavailable,
    QuotaExceeded,
    TooLarge,
    Unauthorized,
    UnknownImage,
)

_NEXT_STEP: dict[type[LaserError], str] = {
    UnknownImage: "Use a known handle, or ask the user for an image.",
    InvalidRequest: "Change the arguments and call again.",
    ImageRejected: "Ask the user for another image.",
    TooLarge: "Ask about a crop, or ask the user for a smaller image.",
    DeadlineExceeded: "Ask again later, or ask something simpler.",
    QuotaExceeded: "Call again after that time, or go on without.",
    Unauthorized: "Do not retry; tell the user.",
    ModelUnavailable: "Do not retry; tell the user.",
    Misconfigured: "Do not retry; tell the user.",
    MissingExtra: "Do not retry; tell the user.",
}


def explain(error: LaserError) -> str:
    """The error's public text, and the planner's next step."""
    step = next((s for kind, s in _NEXT_STEP.items() if isinstance(error, kind)), "")
    return f"{error.public_text} {step}".strip()


def for_a_person(explained: str) -> str:
    """What `explain` said, without the planner's next step."""
    steps = (step for step in _NEXT_STEP.values() if explained.endswith(step))
    return explained.removesuffix(next(steps, "")).rstrip()


def explain_invalid_arguments(error: ValidationError | ValidationErrorV1) -> str:
    """Name the wrong arguments and what they must be, without repeating what was sent."""
    found = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3]]
    return f"Invalid arguments. {'; '.join(found)}. Change them and call again."
