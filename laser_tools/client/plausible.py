"""Checks on a worker's results, made before anybody acts on them."""

from __future__ import annotations

from collections.abc import Iterator

from laser_tools.errors import ModelUnavailable
from laser_tools.schema import AnswerRequest, Box, GroundedAnswer, ZoomRequest, ZoomResult

ROUNDING = 1e-3  # shares of one whole may add up to a little more
Size = tuple[int, int]


def check_plausible(
    result: GroundedAnswer | ZoomResult,
    request: AnswerRequest | ZoomRequest,
    size: Size,
    worker: str,
) -> None:
    """The result must be one that an engine could give for an image of `size` (width, height).

    Raises:
        ModelUnavailable: it is not; the text says what is wrong with it.
    """
    if wrong := next(_wrong(result, request, size), None):
        raise ModelUnavailable(
            f"{worker} sent an answer that cannot be right: {wrong}. Check LASER_BASE_URL and "
            "what runs there."
        )


def _wrong(
    result: GroundedAnswer | ZoomResult, request: AnswerRequest | ZoomRequest, size: Size
) -> Iterator[str]:
    if result.image_size != size:
        yield "it is about an image of another size"
    if not all(_inside(box, size) for box in _boxes(result)):
        yield "a box lies outside the image"
    if not all(0.0 <= found.score <= 1.0 + ROUNDING for found in result.evidence):
        yield "a score is not between 0 and 1"
    if isinstance(result, GroundedAnswer):
        if result.confidence is not None and not 0.0 <= result.confidence <= 1.0:
            yield "its confidence is not between 0 and 1"
    elif len(result.evidence) != len(result.crop_boxes):
        yield "not every place has its crop"
    if isinstance(request, ZoomRequest) and len(result.evidence) > request.n_regions:
        yield "it names more places than were asked for"


def _boxes(result: GroundedAnswer | ZoomResult) -> Iterator[Box]:
    yield from (found.box for found in result.evidence)
    yield from result.crop_boxes
    if result.localisation is not None:
        yield result.localisation.map_box


def _inside(box: Box, size: Size) -> bool:
    return box.x1 <= size[0] and box.y1 <= size[1]
