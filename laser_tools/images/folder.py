"""An archive of originals in a folder on disk.

Each conversation has a folder, each original a file in it that is named by all that is known of
it: there is no index that could be wrong. A file's time says when it was last used.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from laser_tools.images.originals import Kept, Retention, thread_key

_NAME = re.compile(r"(img_[0-9]{1,6})-([0-9]{1,6})x([0-9]{1,6})-([0-9a-f]{64})")


@dataclass(frozen=True)
class FolderArchive:
    """Files as they were sent, under `folder`, which only this user can read.

    `retention` bounds their bytes in all, and the time since one was used.
    """

    folder: Path
    retention: Retention = field(default_factory=Retention)
    clock: Callable[[], float] = time.time

    def listed(self, thread_id: str) -> dict[str, Kept]:
        return {handle: kept for handle, kept, _ in self._files(thread_id)}

    def read(self, thread_id: str, handle: str, sha256: str) -> bytes | None:
        for found, kept, path in self._files(thread_id):
            if (found, kept.sha256) == (handle, sha256):
                return self._used(path)
        return None

    def write(self, thread_id: str, handle: str, kept: Kept, data: bytes) -> None:
        folder = self._of(thread_id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for found, _, path in self._files(thread_id):
            if found == handle:
                path.unlink(missing_ok=True)
        width, height = kept.size
        self._put(folder / f"{handle}-{width}x{height}-{kept.sha256}", data)
        self._sweep()

    def forget(self, thread_id: str) -> None:
        shutil.rmtree(self._of(thread_id), ignore_errors=True)

    def _of(self, thread_id: str) -> Path:
        return Path(self.folder) / thread_key(thread_id)

    def _files(self, thread_id: str) -> Iterator[tuple[str, Kept, Path]]:
        """What is there and not expired, in the order of its numbers."""
        named = ((_NAME.fullmatch(path.name), path) for path in self._of(thread_id).glob("img_*"))
        found = [(match, path) for match, path in named if match]
        for match, path in sorted(found, key=lambda each: int(each[0][1][len("img_") :])):
            if not self.retention.expired(_times(path)[1], self.clock()):
                yield match[1], Kept(match[4], (int(match[2]), int(match[3]))), path

    def _used(self, path: Path) -> bytes | None:
        try:
            data = path.read_bytes()
            os.utime(path, (self.clock(), self.clock()))
        except OSError:  # another process let it go
            return None
        return data

    def _put(self, path: Path, data: bytes) -> None:
        """All of it or nothing: a reader never sees half a file."""
        half = path.with_name(f".{path.name}.{os.getpid()}")
        half.write_bytes(data)
        os.utime(half, (self.clock(), self.clock()))
        half.replace(path)

    def _sweep(self) -> None:
        held = {path: _times(path) for path in Path(self.folder).glob("*/*")}
        for path in self.retention.surplus(held, self.clock()):
            path.unlink(missing_ok=True)


def _times(path: Path) -> tuple[int, float]:
    """Bytes, and when it was last used; a file that is gone is empty and old."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0.0
    return found.st_size, found.st_mtime
