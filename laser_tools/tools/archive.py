"""An archive of originals in a LangGraph store: SQLite, Postgres, memory, whatever keeps the rest.

What is known of an original lies apart from its file, so that listing reads no files.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, PositiveInt, ValidationError

from laser_tools.images.originals import Kept, Retention, thread_key

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore, Item

_INDEX, _FILES = ("laser_images", "index"), ("laser_images", "files")
_PAGE = 1000


class _Entry(BaseModel, frozen=True):
    sha256: str
    size: tuple[PositiveInt, PositiveInt]
    n_bytes: int
    used_s: float  # since 1970


@dataclass(frozen=True)
class StoreArchive:
    """Files as they were sent, in `store`, under the namespace `laser_images`.

    `retention` bounds their bytes in all (base64 takes a third more), and the time since one was
    used. It takes a store that can be called without an event loop.
    """

    store: BaseStore
    retention: Retention = field(default_factory=Retention)
    clock: Callable[[], float] = time.time

    def listed(self, thread_id: str) -> dict[str, Kept]:
        found = self._entries((*_INDEX, thread_key(thread_id)))
        valid = {
            item.key: Kept(entry.sha256, entry.size)
            for item, entry in found
            if not self.retention.expired(entry.used_s, self.clock())
        }
        return {handle: valid[handle] for handle in sorted(valid, key=lambda key: (len(key), key))}

    def read(self, thread_id: str, handle: str, sha256: str) -> bytes | None:
        kept = self.listed(thread_id).get(handle)
        item = self.store.get((*_FILES, thread_key(thread_id)), handle)
        if kept is None or kept.sha256 != sha256 or item is None:
            return None
        try:
            data = base64.b64decode(item.value.get("base64", ""), validate=True)
        except (binascii.Error, TypeError, ValueError):  # damaged
            return None
        self._note(thread_id, handle, kept, len(data))
        return data

    def write(self, thread_id: str, handle: str, kept: Kept, data: bytes) -> None:
        encoded = {"base64": base64.b64encode(data).decode("ascii")}
        self.store.put((*_FILES, thread_key(thread_id)), handle, encoded, index=False)
        self._note(thread_id, handle, kept, len(data))
        self._sweep()

    def forget(self, thread_id: str) -> None:
        for item in list(self._items((*_INDEX, thread_key(thread_id)))):
            self._delete(thread_key(thread_id), item.key)

    def _note(self, thread_id: str, handle: str, kept: Kept, n_bytes: int) -> None:
        entry = _Entry(sha256=kept.sha256, size=kept.size, n_bytes=n_bytes, used_s=self.clock())
        told = entry.model_dump(mode="json")
        self.store.put((*_INDEX, thread_key(thread_id)), handle, told, index=False)

    def _sweep(self) -> None:
        held = {
            (item.namespace[-1], item.key): (entry.n_bytes, entry.used_s)
            for item, entry in self._entries(_INDEX)
        }
        for thread, handle in self.retention.surplus(held, self.clock()):
            self._delete(thread, handle)

    def _delete(self, thread: str, handle: str) -> None:
        for kind in (_INDEX, _FILES):
            self.store.delete((*kind, thread), handle)

    def _entries(self, namespace: tuple[str, ...]) -> Iterator[tuple[Item, _Entry]]:
        for item in self._items(namespace):
            try:
                yield item, _Entry.model_validate(item.value)
            except ValidationError:  # damaged
                continue

    def _items(self, namespace: tuple[str, ...]) -> Iterator[Item]:
        offset = 0
        while page := self._page(namespace, offset):
            yield from page
            offset += len(page)

    def _page(self, namespace: tuple[str, ...], offset: int) -> list[Any]:
        return list(self.store.search(namespace, limit=_PAGE, offset=offset))
