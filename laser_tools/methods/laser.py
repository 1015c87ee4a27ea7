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
from laser_tools.methods.hide import hides_keys, read_blind
from laser_tools.methods.localise import AttentionMaps, localise, look, query_prompts
from laser_tools.methods.plain import decode_requests, limits_of
from laser_tools.methods.views import Images, negative_view, positive_view
from laser_tools.options import LaserOptions
from laser_tools.schema import (
    AnswerRequest,
    GroundedAnswer,
    Route,
    ZoomRequest,
    ZoomResult,
)
from laser_tools.stop import ShouldStop, never
from laser_tools.vlm.decode import Decoded, first_margins
from laser_tools.vlm.load import VLM
from laser_tools.vlm.prefix import chosen, read
from laser_tools.vlm.prompts import Encoded, Prompt
from laser_tools.vlm.session import Session

__all__ = ["AttentionMaps", "answer", "localise", "zoom"]


@dataclass
class _Case:
    """One request on its way: what was seen of it, and, once `decoded` is set, its answer."""

    index: int  # in the batch
    request: AnswerRequest
    maps: AttentionMaps | None = None
    region: Region | None = None
    decoded: Decoded | None = None
    route: Route = "verify"


def answer(
    vlm: VLM,
    requests: Sequence[AnswerRequest],
    options: LaserOptions,
    should_stop: ShouldStop = never,
) -> list[GroundedAnswer]:
    """Answers with evidence. A request with a `box` looks there, and is not localised."""
    clock = Clock(len(requests), vlm.synchronize)
    images, salts = [r.image for r in requests], [r.cache_salt for r in requests]
    session = Session(vlm, images, should_stop, salts)
    cases = [_Case(i, request) for i, request in enumerate(requests)]
    asked = [case for case in cases if case.request.box is None]
    _attend(session, asked, options, clock)
    for case in cases:
        with clock.of([case.index])("crop"):
            case.region = _region(case, options)
    _direct(session, _open(cases), options, clock)
    _zoom(session, _open(cases), options, clock)
    _verify(session, _open(cases), options, clock)
    pairs = zip(cases, clock.timings_s(), strict=True)
    return [_grounded(session, case, options, timings_s) for case, timings_s in pairs]


def zoom(
    vlm: VLM,
    requests: Sequence[ZoomRequest],
    options: LaserOptions,
    should_stop: ShouldStop = never,
) -> list[ZoomResult]:
    """Where to look for each `what`; no regions where the query changed nothing."""
    clock = Clock(len(requests), vlm.synchronize)
    timer = clock.of(range(len(requests)))
    images = [request.image for request in requests]
    questions = [zoom_question(request.what, options) for request in requests]
    session = Session(vlm, images, should_stop, [request.cache_salt for request in requests])
    _, maps = look(session, query_prompts(images, questions, options), options, timer)
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
            prefix_hits=session.hits(request.image),
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


def _direct_margin(vlm: VLM, options: LaserOptions) -> float | None:
    """The gate's threshold; without a calibration of this very model nothing is taken for easy."""
    if options.direct_margin != "fitted":
        return options.direct_margin
    return vlm.calibration.direct_margin if vlm.calibration else None


def _attend(session: Session, cases: Sequence[_Case], options: LaserOptions, clock: Clock) -> None:
    """Where the queries look, and what is clear enough without a second look."""
    if not cases:
        return
    requests = [case.request for case in cases]
    images, questions = [r.image for r in requests], [r.question for r in requests]
    prompts = query_prompts(images, questions, options)
    encoded, maps = look(session, prompts, options, _timer(clock, cases))
    for case, found in zip(cases, maps, strict=True):
        case.maps = found
    least = _direct_margin(session.vlm, options)
    if least is not None:
        _answer_easy(session, cases, encoded, least, clock)


def _answer_easy(
    session: Session, cases: Sequence[_Case], encoded: Encoded, least: float, clock: Clock
) -> None:
    """Plain answers whose first token wins by `least` logits: they go on from the pass that looked.

    Only those are decoded; of the others the first token's margin is all that is known.
    """
    limits = limits_of(session.vlm, encoded, [case.request for case in cases])
    margins = first_margins(session.vlm, encoded, limits)
    rows = [row for row, margin in enumerate(margins) if margin >= least]
    if not rows:
        return
    easy = [cases[row] for row in rows]
    _go_on(session, easy, chosen(session.vlm, encoded, rows), "direct", clock)
    for case in easy:
        _reopen_unless_sure(case, least)


def _region(case: _Case, options: LaserOptions) -> Region | None:
    size = case.request.image.size
    if case.request.box is not None:
        return region_of_box(case.request.box, size, options)
    if case.maps is None:
        return None
    return find_region(case.maps.map, case.maps.map_box, size, options)


def _direct(session: Session, cases: Sequence[_Case], options: LaserOptions, clock: Clock) -> None:
    """The whole image's answer where there is nothing to crop."""
    blank = [case for case in cases if case.region is None]
    _decode(session, blank, [(case.request.image,) for case in blank], "direct", options, clock)


def _zoom(session: Session, cases: Sequence[_Case], options: LaserOptions, clock: Clock) -> None:
    """Answer from the crop alone where that is sure enough."""
    if options.verify_margin is None:
        return
    _decode(session, cases, _views(cases, options, clock), "zoom", options, clock)
    for case in cases:
        _reopen_unless_sure(case, options.verify_margin)


def _verify(session: Session, cases: Sequence[_Case], options: LaserOptions, clock: Clock) -> None:
    """Crop against crop without its evidence, fused token by token (eqs. 10-11)."""
    views = _views(cases, options, clock)
    if not hides_keys(session.vlm, options):
        views += _views(cases, options, clock, negative=True)
    fusion = VATFusion(options.alpha, options.beta)
    _decode(session, cases, views, "verify", options, clock, fusion)


def _timer(clock: Clock, cases: Sequence[_Case]) -> Timer:
    return clock.of([case.index for case in cases])


def _open(cases: Sequence[_Case]) -> list[_Case]:
    return [case for case in cases if case.decoded is None]


def _reopen_unless_sure(case: _Case, least: float) -> None:
    """An answer whose first decided token won by less than `least` is not used."""
    margins = case.decoded.margins if case.decoded else ()
    if not margins or margins[0].margin < least:
        case.decoded = None


def _views(
    cases: Sequence[_Case], options: LaserOptions, clock: Clock, *, negative: bool = False
) -> list[Images]:
    view = negative_view if negative else positive_view
    with _timer(clock, cases)("crop"):
        return [view(case.request.image, case.region, options) for case in cases if case.region]


def _decode(
    session: Session,
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
    with _timer(clock, cases)("encode"):
        if fusion is not None and hides_keys(session.vlm, options):
            regions = [case.region for case in cases if case.region]
            encoded = read_blind(session, prompts, regions, options)
        else:
            encoded = read(session, prompts)
    _go_on(session, cases, encoded, route, clock, fusion)


def _go_on(
    session: Session,
    cases: Sequence[_Case],
    encoded: Encoded,
    route: Route,
    clock: Clock,
    fusion: VATFusion | None = None,
) -> None:
    """The answers of `cases` from prompts that have been read."""
    if not cases:
        return
    with _timer(clock, cases)("decode"):
        requests = [case.request for case in cases]
        decoded = decode_requests(session, encoded, requests, fusion)
    for case, one in zip(cases, decoded, strict=True):
        case.decoded, case.route = one, route


def _grounded(
    session: Session, case: _Case, options: LaserOptions, timings_s: dict[str, float]
) -> GroundedAnswer:
    if case.decoded is None:
        raise RuntimeError("A case left the last route without an answer.")
    region = case.region
    return GroundedAnswer(
        answer=case.decoded.text,
        confidence=None,
        route=case.route,
        method="laser" if options.layer == "vaq" else "fixed-layer",
        model=session.vlm.name,
        image_size=case.request.image.size,
        evidence=region.evidence if region else (),
        crop_box=region.crop if region and case.route != "direct" else None,
        localisation=case.maps.as_localisation() if case.maps else None,
        margins=case.decoded.margins,
        timings_s=timings_s,
        prefix_hits=session.hits(case.request.image),
    )
