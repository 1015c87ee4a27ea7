"""Encoded originals outside the store's memory: a conversation's history, or an archive.

The store asks them for pixels that it does not have, or no longer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Kept:
    """An original that a handle names: the identity of its pixels, and width and height."""

    sha256: str
    size: tuple[int, int]


class Originals(Protocol):
    """Encoded originals of conversations, by handle."""

    def listed(self, thread_id: str) -> Mapping[str, Kept]:
        """The originals that `read` has."""
        ...

    def read(self, thread_id: str, handle: str, sha256: str) -> bytes | None:
        """The file of an original; None where the handle names another, or nothing."""
        ...


class ImageArchive(Originals, Protocol):
    """Originals that outlive the process; within a budget, so that any may be gone."""

    def write(self, thread_id: str, handle: str, kept: Kept, data: bytes) -> None: ...

    def forget(self, thread_id: str) -> None: ...


@dataclass(frozen=True)
class Retention:
    """Bounds of an archive: bytes of files in all, seconds since an original was last used."""

    max_bytes: int = 2 * 2**30
    max_age_s: float = 30 * 24 * 3600.0

    def expired(self, used_s: float, now_s: float) -> bool:
        """True of an original that was last used too long ago."""
        return now_s - used_s > self.max_age_s

    def surplus(self, held: Mapping[Key, tuple[int, float]], now_s: float) -> list[Key]:
        """Those to let go of key -> (bytes, last used): expired, or older than the budget holds."""
        newest_first = sorted(held, key=lambda key: held[key][1], reverse=True)
        gone, total = [], 0
        for key in newest_first:
            n_bytes, used_s = held[key]
            if self.expired(used_s, now_s) or total + n_bytes > self.max_bytes:
                gone.append(key)
            else:
                total += n_bytes
        return gone


def thread_key(thread_id: str) -> str:
    """A conversation's name as a file or a namespace takes it, whatever the name holds."""
    return hashlib.sha256(thread_id.encode("utf-8", "surrogatepass")).hexdigest()


_AT_HAND: ContextVar[Originals | None] = ContextVar("originals_at_hand", default=None)


@contextmanager
def at_hand(originals: Originals) -> Iterator[None]:
    """Within this call, stores also find their pixels in `originals`."""
    before = _AT_HAND.set(originals)
    try:
        yield
    finally:
        _AT_HAND.reset(before)


def originals_at_hand() -> Originals | None:
    """The innermost of `at_hand`."""
    return _AT_HAND.get()
