"""Engine results as a planner reads them (short JSON text) and as code reads them (plain dicts).

Both speak one frame: pixels of the upright original, also when the question was about a crop.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from laser_tools.images.handles import Place
from laser_tools.schema import Box, Evidence, GroundedAnswer, Localisation, ZoomResult
from laser_tools.tools.results import LaserResult

MAX_ANSWER_CHARS = 500
MAX_EVIDENCE = 3


def answer_in_root(answer: GroundedAnswer, place: Place) -> GroundedAnswer:
    """The same answer with every box moved from the asked image to its original."""
    return answer.model_copy(
        update={
            "image_size": place.root_size,
            "evidence": _evidence_in_root(answer.evidence, place),
            "crop_boxes": tuple(place.to_root(box) for box in answer.crop_boxes),
            "localisation": answer.localisation and _map_in_root(answer.localisation, place),
        },
    )


def zoom_in_root(result: ZoomResult, place: Place) -> ZoomResult:
    """The same regions with every box moved from the searched image to its original."""
    return result.model_copy(
        update={
            "image_size": place.root_size,
            "evidence": _evidence_in_root(result.evidence, place),
            "crop_boxes": tuple(place.to_root(box) for box in result.crop_boxes),
            "localisation": _map_in_root(result.localisation, place),
        },
    )


def answer_content(answer: GroundedAnswer, place: Place, crops: Sequence[str]) -> str:
    """JSON of an answer for the planner (boxes are already in the original's frame)."""
    fields: dict[str, Any] = {
        "image": place.handle,
        "answer": printable(answer.answer),
        "confidence": rounded(answer.confidence),
        "route": answer.route,
        "evidence": [_region(found, place) for found in answer.evidence[:MAX_EVIDENCE]],
        "frame": frame(place),
    }
    if answer.abstain:
        fields["abstain"] = answer.abstain
    if answer.crop_boxes:
        pairs = zip(crops, answer.crop_boxes, strict=True)
        fields["crops"] = [{"image": crop, **_box_fields(box, place)} for crop, box in pairs]
    return _compact(fields)


def zoom_content(result: ZoomResult, place: Place, crops: Sequence[str]) -> str:
    """JSON of a search for the planner: regions, best first, each with the crop to ask about."""
    regions = [
        {**_region(found, place), "crop": crop}
        for found, crop in zip(result.evidence, crops, strict=True)
    ]
    return _compact({"image": place.handle, "regions": regions, "frame": frame(place)})


def artifact(
    result: GroundedAnswer | ZoomResult,
    place: Place,
    crops: Sequence[str],
) -> dict[str, Any]:
    """Plain JSON data for code: the whole result (in the original's frame) with its handles."""
    typed = LaserResult(place.handle, place.root, tuple(crops), frame(place), result)
    return typed.to_artifact()


def frame(place: Place) -> str:
    """The frame of every box we return, in words."""
    width, height = place.root_size
    return f"[x0,y0,x1,y1] px of upright {place.root} ({width}x{height}); box_01 the same in 0-1"


def printable(text: str) -> str:
    """Text read from an image, made safe to quote: one line, no control or invisible characters.

    An image can spell anything, instructions included; it stays short and inside JSON quotes.
    """
    kept = "".join(char if char.isprintable() else " " for char in text)
    return kept[:MAX_ANSWER_CHARS].strip()


def rounded(number: float | None) -> float | None:
    """Three digits; null where there is no number, as JSON has no word for it."""
    return None if number is None or not math.isfinite(number) else round(number, 3)


def _region(found: Evidence, place: Place) -> dict[str, Any]:
    return {**_box_fields(found.box, place), "score": rounded(found.score)}


def _box_fields(box: Box, place: Place) -> dict[str, Any]:
    return {"box": box.as_tuple(), "box_01": box.normalised(place.root_size)}


def _evidence_in_root(evidence: tuple[Evidence, ...], place: Place) -> tuple[Evidence, ...]:
    return tuple(found.model_copy(update={"box": place.to_root(found.box)}) for found in evidence)


def _map_in_root(localisation: Localisation, place: Place) -> Localisation:
    return localisation.model_copy(update={"map_box": place.to_root(localisation.map_box)})


def _compact(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
