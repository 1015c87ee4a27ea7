"""A `LocalEngine` that is loaded when first asked, so that naming the tools costs no torch."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from laser_tools.engine.base import StoppableEngine
from laser_tools.engine.in_thread import in_thread
from laser_tools.errors import MissingExtra
from laser_tools.schema import AnswerRequest, GroundedAnswer, ZoomRequest, ZoomResult
from laser_tools.stop import ShouldStop, never

_ENGINE_MODULES = frozenset({"torch", "transformers", "tokenizers", "safetensors"})


class LazyEngine:
    """`Engine` over `LocalEngine.from_pretrained(model)`; one model, loaded once.

    Raises (from all four methods):
        MissingExtra: torch or transformers is not installed.
        ModelUnavailable: the model cannot be loaded.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self._engine: StoppableEngine | None = None
        self._lock = threading.Lock()

    def answer(
        self, requests: Sequence[AnswerRequest], should_stop: ShouldStop = never
    ) -> list[GroundedAnswer]:
        return self._loaded().answer(requests, should_stop)

    def zoom(
        self, requests: Sequence[ZoomRequest], should_stop: ShouldStop = never
    ) -> list[ZoomResult]:
        return self._loaded().zoom(requests, should_stop)

    async def aanswer(self, requests: Sequence[AnswerRequest]) -> list[GroundedAnswer]:
        return await in_thread(self.answer, requests)

    async def azoom(self, requests: Sequence[ZoomRequest]) -> list[ZoomResult]:
        return await in_thread(self.zoom, requests)

    def _loaded(self) -> StoppableEngine:
        with self._lock:
            if self._engine is None:
                self._engine = _load(self.model)
            return self._engine


def _load(model: str) -> StoppableEngine:
    try:
        from laser_tools.engine.local import LocalEngine
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _ENGINE_MODULES:
            raise
        raise MissingExtra("Running a model in this process", "engine") from None
    return LocalEngine.from_pretrained(model)
