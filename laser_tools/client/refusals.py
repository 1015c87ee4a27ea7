"""A worker's response as a result, or as the error that it reports."""

from __future__ import annotations

import re
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from laser_tools.errors import Busy, LaserError, ModelUnavailable, QuotaExceeded
from laser_tools.wire import ErrorBody, ErrorDetail

MAX_TEXT_CHARS = 500
_SECONDS = re.compile(r"[0-9]{1,9}")  # of a longer number its first digits: 30 years will do
_ALL: list[type[LaserError]] = [LaserError, *LaserError.__subclasses__()]
_KINDS = {kind.code: kind for kind in _ALL}

Result = TypeVar("Result", bound=BaseModel)


def result_of(response: httpx.Response, kind: type[Result]) -> Result:
    """The `kind` in a response's body.

    Raises:
        ModelUnavailable: the body is something else.
    """
    try:
        return kind.model_validate_json(response.content)
    except ValidationError:  # its text may repeat the body
        raise ModelUnavailable(
            f"{worker_name(response.url)} sent an answer that this version cannot read. "
            "Install the same version of laser-tools on both sides."
        ) from None


def refusal_of(response: httpx.Response) -> LaserError | None:
    """The error that a response reports in the worker's own words; None if it is a success."""
    if response.is_success:
        return None
    try:
        detail = ErrorBody.model_validate_json(response.content).error
    except ValidationError:  # a proxy's page, a redirect, not a worker at all
        return ModelUnavailable(
            f"{worker_name(response.url)} answered with status {response.status_code} "
            "and nothing that a laser-tools worker says. Check LASER_BASE_URL."
        )
    return _in_its_words(detail, response)


def worker_name(url: httpx.URL) -> str:
    """The worker in an error text: its host, no path and no key."""
    return f"The worker at {url.netloc.decode('ascii')}"


def _in_its_words(detail: ErrorDetail, response: httpx.Response) -> LaserError:
    error = _KINDS.get(detail.code, LaserError).as_told(_one_line(detail.message))
    if isinstance(error, Busy | QuotaExceeded):
        asked = _SECONDS.match(response.headers.get("Retry-After", ""))
        error.retry_after_s = int(asked[0]) if asked else 1
    return error


def _one_line(text: str) -> str:
    kept = "".join(char if char.isprintable() else " " for char in text)
    return kept[:MAX_TEXT_CHARS]
