"""The server of these tests, over an engine that works as a model does: one question at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from mcp.server.lowlevel import Server

from laser_tools.engine.base import Request, Result
from laser_tools.errors import Cancelled
from laser_tools.images.store import ImageStore
from laser_tools.mcp_server.folder import ImageFolder
from laser_tools.mcp_server.server import build
from laser_tools.progress import StageEvent, TokenEvent
from laser_tools.schema import AnswerRequest, GroundedAnswer
from laser_tools.stop import ShouldStop, never
from tests.tools.fakes import ColourEngine


class WaitingEngine(ColourEngine):
    """ "wait" is never answered, only stopped; meanwhile nothing else is. "bug" is a fault."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def serve(self, requests: Sequence[Request], should_stop: ShouldStop = never) -> list[Result]:
        with self._lock:
            asked = [r.question for r in requests if isinstance(r, AnswerRequest)]
            if "bug" in asked:
                raise ZeroDivisionError("c4n4ry")
            while "wait" in asked:
                if should_stop():
                    raise Cancelled
                time.sleep(0.005)
            return super().serve(requests, should_stop)

    def answered_with(self, request: AnswerRequest) -> GroundedAnswer:
        if request.listener is not None:
            request.listener(StageEvent(stage="attend"))
            request.listener(TokenEvent(token="red", start=0))
            request.listener(StageEvent(stage="decode"))
        return super().answered_with(request)


def server(root: Path | None) -> Server[str]:
    folder = None if root is None else ImageFolder(root)
    return build(WaitingEngine(), folder, ImageStore())
