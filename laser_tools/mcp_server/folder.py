"""Image files of one folder, and of nothing outside it."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from pathlib import Path, PurePath

from laser_tools.errors import ImageRejected, Misconfigured
from laser_tools.images.decode import DEFAULT_LIMITS, ImageLimits

_STEP = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
OUTSIDE = "This path is not in the folder that the server may read. Give one inside it."
NO_FILE = "There is no such image file in the server's folder (links are not followed)."


class ImageFolder:
    """The one folder whose files a client may name.

    Each part of a path is opened from the one before and may be no link, so that nothing that
    changes meanwhile leads outside.
    """

    def __init__(self, folder: Path, limits: ImageLimits = DEFAULT_LIMITS) -> None:
        """Raises Misconfigured unless `folder` is one."""
        self._given = folder.absolute()
        self._real = folder.resolve()
        self._limits = limits
        if not self._real.is_dir():
            raise Misconfigured("--root must be a folder. Name one that is there.")

    def read(self, path: str) -> bytes:
        """The bytes of a file, at most one more than the limit. Raises ImageRejected."""
        *folders, name = self._parts(path)
        with ExitStack() as opened:
            try:
                at = _opened(opened, str(self._real), os.O_DIRECTORY)
                for folder in folders:
                    at = _opened(opened, folder, os.O_DIRECTORY, at)
                file = _opened(opened, name, os.O_NONBLOCK, at)  # a pipe would wait for a writer
                return self._content(file)
            except OSError:
                raise ImageRejected(NO_FILE) from None

    def _parts(self, path: str) -> tuple[str, ...]:
        """The parts of a path below the folder. Raises ImageRejected for any other."""
        pure = PurePath(path)
        for base in (self._given, self._real):
            if pure.is_relative_to(base):
                pure = pure.relative_to(base)
        if pure.is_absolute() or ".." in pure.parts or "\0" in path or not pure.parts:
            raise ImageRejected(OUTSIDE)
        return pure.parts

    def _content(self, file: int) -> bytes:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ImageRejected(NO_FILE)
        with os.fdopen(file, "rb", closefd=False) as stream:
            return stream.read(self._limits.max_bytes + 1)


def _opened(held: ExitStack, name: str, kind: int, at: int | None = None) -> int:
    """A descriptor that is closed with `held`. Raises OSError, also for a link."""
    descriptor = os.open(name, _STEP | kind, dir_fd=at)
    held.callback(os.close, descriptor)
    return descriptor
