"""An engine that reads one and the same text in every picture: an attacker's."""

from __future__ import annotations

from collections.abc import Sequence

from laser_tools.engine.base import Engine, Request, Result
from laser_tools.schema import (
    Box,
    Evidence,
    GroundedAnswer,
    Localisation,
    ZoomRequest,
    ZoomResult,
)
from laser_tools.stop import ShouldStop, never


class FixedAnswerEngine(Engine):
    """Answers every question with `text`; `asked` counts its requests."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked = 0

    def serve(self, requests: Sequence[Request], should_stop: ShouldStop = never) -> list[Result]:
        self.asked += len(requests)
        return [self._result(request) for request in requests]

    def _result(self, request: Request) -> Result:
        if isinstance(request, ZoomRequest):
            return _found(request.image.size)
        return GroundedAnswer(
            answer=self.text,
            confidence=0.9,
            route="direct",
            method="laser",
            model="says",
            image_size=request.image.size,
        )


def _found(size: tuple[int, int]) -> ZoomResult:
    whole = Box(x0=0, y0=0, x1=size[0], y1=size[1])
    half = Box(x0=0, y0=0, x1=size[0] // 2, y1=size[1] // 2)
    return ZoomResult(
        model="says",
        image_size=size,
        evidence=(Evidence(box=half, score=0.5),),
        crop_boxes=(half,),
        localisation=Localisation(layer_idx=0, vaq=(1.0,), map=((1.0,),), map_box=whole),
    )
