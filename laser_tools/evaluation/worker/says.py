"""An engine that reads one and the same text in every picture: an attacker's."""

from __future__ import annotations

from collections.abc import Sequence

from laser_tools.schema import (
    AnswerRequest,
    Box,
    Evidence,
    GroundedAnswer,
    Localisation,
    ZoomRequest,
    ZoomResult,
)


class Says:
    """`Engine`; `asked` counts its requests."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked = 0

    def answer(self, requests: Sequence[AnswerRequest]) -> list[GroundedAnswer]:
        self.asked += len(requests)
        return [self._answer(request) for request in requests]

    def zoom(self, requests: Sequence[ZoomRequest]) -> list[ZoomResult]:
        self.asked += len(requests)
        return [_found(request.image.size) for request in requests]

    def _answer(self, request: AnswerRequest) -> GroundedAnswer:
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
