"""Every error this package raises on purpose.

LaserError
├── ImageRejected        400  the bytes are not an image we accept
├── InvalidRequest       422  a question, box or option that cannot be served
├── UnknownImage         404  a handle that names no image of this thread
├── Cancelled            499  the caller no longer waits for the answer
├── ModelUnavailable     503  the model cannot be loaded
└── MissingExtra         501  an optional part of the package is not installed

`public_text` is safe to show to anyone: it says what was wrong and what to do next, and holds no
path, address or exception text.
"""

from __future__ import annotations


class LaserError(Exception):
    """The root; `public_text` explains, `http_status` is what a worker answers with."""

    http_status = 500

    def __init__(self, public_text: str) -> None:
        super().__init__(public_text)
        self.public_text = public_text


class ImageRejected(LaserError):
    """The bytes are not an image we accept."""

    http_status = 400


class InvalidRequest(LaserError):
    """The request is well-formed but cannot be served as asked."""

    http_status = 422


class UnknownImage(LaserError):
    """The handle names no image of this thread."""

    http_status = 404


class Cancelled(LaserError):
    """The caller's `should_stop` said so; nothing of the call is left behind."""

    http_status = 499  # nginx's "client closed request"

    def __init__(self) -> None:
        super().__init__("The request was cancelled before it was answered. Ask again if needed.")


class ModelUnavailable(LaserError):
    """The model cannot be loaded; the text says why and what to do."""

    http_status = 503


class MissingExtra(LaserError):
    """An optional part of the package is not installed."""

    http_status = 501

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the '{extra}' extra: pip install 'laser-tools[{extra}]'",
        )
