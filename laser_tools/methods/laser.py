"""LASER (arXiv 2602.04304): look with and without the query, crop, verify, answer.

A request walks one way: attend -> region -> one of three routes. `direct`: the whole image was
sure enough, or nothing was selected. `zoom`: the crop was. `verify`: crop against masked crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from laser_tools.grounding.regions import Region, find_region, find_regions, region_of_box
from laser_tools.grounding.vat import VATFusion
from laser_tools.methods.clock import Clock, Timer
from laser_tools.methods.localise import (
    AttentionMaps,
    localise,
    localise_from,
    prefill,
    query_prompts,
    reading,
)
from laser_tools.methods.plain import decode_prompts, limits_of
from laser_tools.methods.views import Images, negative_view, positive_view
from laser_tools.options import LaserOptions
from laser_tools.schema import (
    AnswerRequest,
    GroundedAnswer,
    Route,
    ZoomRequest,
    ZoomResult,
)
from laser_tools.vlm.decode import Decoded, decode
from laser_tools.vlm.load import VLM
from laser_tools.vlm.prompts import Prompt, encode

__all__ = ["AttentionMaps", "answer", "localise", "zoom"]


@dataclass
class _Case:
    """One request on its way: what was seen of it, and, once `decoded` is set, its answer."""

    index: int  # in the batch
    request: AnswerRequest
    maps: AttentionMaps | None = None
    region: Region | None = None
    plain: Decoded | None = None
    decoded: Decoded | None = None
    route: Route = "verify"


def answer(
    vlm: VLM, requests: Sequence[AnswerRequest], options: LaserOptions
) -> list[GroundedAnswer]:
    """Answers with evidence. A request with a `box` looks there, and is not localised."""
    clock = Clock(len(requests))
    cases = [_Case(i, request) for i, request in enumerate(requests)]
    _attend(vlm, [case for case in cases if case.request.box is None], options, clock)
    for case in cases:
        with clock.of([case.index])("crop"):
            case.region = _region(case, options)
    _direct(vlm, cases, options, clock)
    _zoom(vlm, _open(cases), options, clock)
    _verify(vlm, _open(cases), options, clock)
    pairs = zip(cases, clock.timings_s(), strict=True)
    return [_grounded(vlm, case, options, timings_s) for case, timings_s in pairs]


def zoom(vlm: VLM, requests: Sequence[ZoomRequest], options: LaserOptions) -> list[ZoomResult]:
    """Where to look for each `what`; no regions where the query changed nothing."""
    clock = Clock(len(requests))
    timer = clock.of(range(len(requests)))
    questions = [zoom_question(request.what, options) for request in requests]
    with timer("attend"):
        maps = localise(vlm, [request.image for request in requests], questions, options)
    pairs = list(zip(requests, maps, strict=True))
    with timer("crop"):
        found = [
            find_regions(m.map, m.map_box, r.image.size, options, r.n_regions) for r, m in pairs
        ]
    return [
        ZoomResult(
            model=vlm.name,
            image_size=request.image.size,
            evidence=tuple(region.evidence[0] for region in regions),
            crop_boxes=tuple(region.crop for region in regions),
            localisation=maps_.as_localisation(),
            timings_s=timings_s,
        )
        for (request, maps_), regions, timings_s in zip(
            pairs, found, clock.timings_s(), strict=True
        )
    ]


def zoom_question(what: str, options: LaserOptions) -> str:
    """The question that looks for `what`; a question is asked as it is."""
    what = what.strip()
    if what.endswith("?"):
        return what
    first, _, rest = what.partition(" ")
    bare = rest if first.lower() in ("the", "a", "an") and rest else what
    return options.zoom_template.format(what=bare)


def _attend(vlm: VLM, cases: Sequence[_Case], options: LaserOptions, clock: Clock) -> None:
    """The two prefills. Where the direct route is open, the first one also answers plainly."""
    if not cases:
        return
    requests = [case.request for case in cases]
    prompts = query_prompts([r.image for r in requests], [r.question for r in requests], options)
    timer = _timer(clock, cases)
    with timer("encode"):
        encoded = encode(vlm, prompts)
    with timer("attend"):
        with reading(vlm, encoded, options) as sink:
            if options.direct_margin is None:
                prefill(vlm, encoded)
            else:
                plain = decode(vlm, encoded, limits_of(vlm, encoded, requests))
                for case, decoded in zip(cases, plain, strict=True):
                    case.plain = decoded
        maps = localise_from(vlm, encoded, sink, options)
    for case, found in zip(cases, maps, strict=True):
        case.maps = found


def _region(case: _Case, options: LaserOptions) -> Region | None:
    size = case.request.image.size
    if case.request.box is not None:
        return region_of_box(case.request.box, size, options)
    if case.maps is None:
        return None
    return find_region(case.maps.map, case.maps.map_box, size, options)


def _direct(vlm: VLM, cases: Sequence[_Case], options: LaserOptions, clock: Clock) -> None:
    """Keep the whole image's answer where it is sure enough, or where there is nothing to crop."""
    for case in cases:
        if case.plain and (case.region is None or _sure(case.plain, options.direct_margin)):
            case.decoded, case.route = case.plain, "direct"
    blank = [case for case in _open(cases) if case.region is None]
    whole = [(case.request.image,) for case in blank]
    _decode(vlm, blank, whole, "direct", options, clock)


def _zoom(vlm: VLM, cases: Sequence[_Case], options: LaserOptions, clock: Clock) -> None:
    """Answer from the crop alone where that is sure enough."""
    if options.verify_margin is None:
        return
    _decode(vlm, cases, _views(cases, options, clock), "zoom", options, clock)
    for case in cases:
        if case.decoded is not None and not _sure(case.decoded, options.verify_margin):
            case.decoded = None


def _verify(vlm: VLM, cases: Sequence[_Case], options: LaserOptions, clock: Clock) -> None:
    """Crop against masked crop, fused token by token (eqs. 10-11)."""
    views = _views(cases, options, clock) + _views(cases, options, clock, negative=True)
    fusion = VATFusion(options.alpha, options.beta)
    _decode(vlm, cases, views, "verify", options, clock, fusion)


def _timer(clock: Clock, cases: Sequence[_Case]) -> Timer:
    return clock.of([case.index for case in cases])


def _open(cases: Sequence[_Case]) -> list[_Case]:
    return [case for case in cases if case.decoded is None]


def _sure(decoded: Decoded, least: float | None) -> bool:
    return least is not None and bool(decoded.margins) and decoded.margins[0].margin >= least


def _views(
    cases: Sequence[_Case], options: LaserOptions, clock: Clock, *, negative: bool = False
) -> list[Images]:
    view = negative_view if negative else positive_view
    with _timer(clock, cases)("crop"):
        return [view(case.request.image, case.region, options) for case in cases if case.region]


def _decode(
    vlm: VLM,
    cases: Sequence[_Case],
    views: Sequence[Images],
    route: Route,
    options: LaserOptions,
    clock: Clock,
    fusion: VATFusion | None = None,
) -> None:
    """Answer `cases` by `route` from `views`: one per case, or positives and then negatives."""
    if not cases:
        return
    questions = [case.request.question for case in cases] * (len(views) // len(cases))
    prompts = [
        Prompt(images, question, options.answer_instruction)
        for images, question in zip(views, questions, strict=True)
    ]
    timer = _timer(clock, cases)
    decoded = decode_prompts(vlm, prompts, [case.request for case in cases], timer, fusion)
    for case, one in zip(cases, decoded, strict=True):
        case.decoded, case.route = one, route


def _grounded(
    vlm: VLM, case: _Case, options: LaserOptions, timings_s: dict[str, float]
) -> GroundedAnswer:
    if case.decoded is None:
        raise RuntimeError("A case left the last route without an answer.")
    region = case.region
    return GroundedAnswer(
        answer=case.decoded.text,
        confidence=None,
        route=case.route,
        method="laser" if options.layer == "vaq" else "fixed-layer",
        model=vlm.name,
        image_size=case.request.image.size,
        evidence=region.evidence if region else (),
        crop_box=region.crop if region and case.route != "direct" else None,
        localisation=case.maps.as_localisation() if case.maps else None,
        margins=case.decoded.margins,
        timings_s=timings_s,
    )
