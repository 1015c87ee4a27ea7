"""A `LocalEngine` that is loaded at the first request, so that naming the tools costs no torch."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from laser_tools.engine.base import Engine, Request, Result
from laser_tools.errors import MissingExtra
from laser_tools.stop import ShouldStop, never

_ENGINE_MODULES = frozenset({"torch", "transformers", "tokenizers", "safetensors"})


class LazyEngine(Engine):
    """`LocalEngine.from_pretrained(model)`, loaded once.

    Raises (from every method):
        MissingExtra: torch or transformers is not installed.
        ModelUnavailable: the model cannot be loaded.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    def serve(self, requests: Sequence[Request], should_stop: ShouldStop = never) -> list[Result]:
        return self._loaded().serve(requests, should_stop)

    def _loaded(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = _load(self.model)
            return self._engine


def _load(model: str) -> Engine:
    try:
        from laser_tools.engine.local import LocalEngine
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _ENGINE_MODULES:
            raise
        raise MissingExtra("Running a model in this process", "engine") from None
    return LocalEngine.from_pretrained(model)
