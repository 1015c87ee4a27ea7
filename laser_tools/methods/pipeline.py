"""Look, crop, answer: the way of every method that answers from a crop.

    look -> region -> easy     the whole image's answer, where it is clear enough
                   -> whole    the same, where nothing was found to crop
                   -> ...      the method's own routes, from the region

A route returns only the answers it is sure of; the next one is asked about the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from laser_tools.grounding.regions import Region, region_of_boxes
from laser_tools.grounding.vat import VATFusion
from laser_tools.methods.base import decode_requests, limits_of, query_prompts
from laser_tools.methods.localise import AttentionMaps, Localiser
from laser_tools.methods.routing import cheapest
from laser_tools.methods.views import ViewRule, view_prompts
from laser_tools.options import CropOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer, Route, Said, TokenMargin
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.decode import Decoded, beginnings
from laser_tools.vlm.model import VLM
from laser_tools.vlm.reading import read, reader_of
from laser_tools.vlm.reading.base import Read
from laser_tools.vlm.telling import ALWAYS, NEVER

RegionRule = Callable[[Any, tuple[int, int], Any], Region | None]
"""(maps as the method's localiser makes them, size of the image (width, height) in pixels, options)
-> where to look, if anywhere."""


@dataclass(frozen=True)
class Answered:
    """A decoded answer and how it was reached; `region` is where it looked instead, if it did."""

    decoded: Decoded
    route: Route
    region: Region | None = None


Done = dict[int, Answered]
"""Answers by the index of their request."""


@dataclass(frozen=True)
class Batch:
    """Requests that are answered together."""

    call: ModelCall
    requests: Sequence[AnswerRequest]
    options: Any  # of the method's own type, which is a CropOptions

    def left(self, done: Mapping[int, Answered]) -> list[int]:
        """The requests without an answer."""
        return [i for i in range(len(self.requests)) if i not in done]

    def chosen(self, indices: Sequence[int]) -> list[AnswerRequest]:
        return [self.requests[i] for i in indices]


@dataclass(frozen=True)
class Seen:
    """By the index of a request: where it looked, with what token the whole image's answer would
    begin, the easy answers, and second opinions, which are what the whole image says where that is
    not the answer."""

    maps: Mapping[int, AttentionMaps] = field(default_factory=dict)
    begins: Mapping[int, TokenMargin | None] = field(default_factory=dict)
    easy: Done = field(default_factory=dict)
    plain: Done = field(default_factory=dict)


CropRoute = Callable[[Batch, Sequence[int], Mapping[int, Region]], Done]
"""(batch, the requests without an answer, at least one, their regions) -> the answers it is sure
of. The last route of a method answers all."""


@dataclass(frozen=True)
class CropMethod:
    """A rule where to look, a rule what to crop there, and how to answer from the crop."""

    localise: Localiser
    region: RegionRule
    routes: tuple[CropRoute, ...]
    name: Callable[[Any], str]  # of the options: what the answer says of how it was made

    def answer(
        self, call: ModelCall, requests: Sequence[AnswerRequest], options: CropOptions
    ) -> list[GroundedAnswer]:
        """Answers with evidence. A request with a `box` looks there, and is not localised."""
        batch = Batch(call, requests, options)
        seen = self._look(batch)
        regions = self._regions(batch, seen.maps)
        done = dict(seen.easy)
        done |= whole(batch, [i for i in batch.left(done) if i not in regions])
        for route in self.routes:
            if left := batch.left(done):
                done |= route(batch, left, regions)
        return [self._grounded(batch, i, done[i], seen, regions) for i in range(len(requests))]

    def _look(self, batch: Batch) -> Seen:
        asked = [i for i, request in enumerate(batch.requests) if request.box is None]
        if not asked:
            return Seen()
        part, requests = batch.call.of(asked), batch.chosen(asked)
        images, questions = [r.image for r in requests], [r.question for r in requests]
        prompts = query_prompts(images, questions, batch.options)
        looked = self.localise(part, prompts, batch.options)
        maps = dict(zip(asked, looked.maps, strict=True))
        if looked.read is None:
            return Seen(maps)
        first = beginnings(part.vlm, looked.read, limits_of(part, looked.read, requests))
        clear = easy(batch, asked, looked.read, first)
        plain = second_opinions(batch, asked, clear, looked.read)
        return Seen(maps, dict(zip(asked, first, strict=True)), clear, plain)

    def _regions(self, batch: Batch, maps: Mapping[int, AttentionMaps]) -> dict[int, Region]:
        regions = {}
        for i, request in enumerate(batch.requests):
            with batch.call.of([i]).stage("crop"):
                region = self._region(request, maps.get(i), batch.options)
            if region is not None:
                regions[i] = region
        return regions

    def _region(
        self, request: AnswerRequest, maps: AttentionMaps | None, options: CropOptions
    ) -> Region | None:
        if request.boxes:
            return region_of_boxes(request.boxes, request.image.size, options)
        return None if maps is None else self.region(maps, request.image.size, options)

    def _grounded(
        self,
        batch: Batch,
        i: int,
        answered: Answered,
        seen: Seen,
        regions: Mapping[int, Region],
    ) -> GroundedAnswer:
        request, region = batch.requests[i], answered.region or regions.get(i)
        cropped = region is not None and answered.route != "direct"
        return GroundedAnswer(
            answer=answered.decoded.text,
            confidence=None,
            route=answered.route,
            method=self.name(batch.options),
            model=batch.call.vlm.name,
            image_size=request.image.size,
            evidence=region.evidence if region else (),
            crop_boxes=region.crops if region and cropped else (),
            localisation=seen.maps[i].as_localisation() if i in seen.maps else None,
            margins=answered.decoded.margins,
            plain=said(seen.plain[i].decoded) if i in seen.plain else None,
            plain_begins=seen.begins.get(i),
            prefix_hits=batch.call.hits(request.image),
        )


def easy(
    batch: Batch, asked: Sequence[int], found: Read, begins: Sequence[TokenMargin | None]
) -> Done:
    """Plain answers that the gate lets through: they go on from the pass that looked.

    `found` holds the requests `asked` first, `begins` their first tokens. Of answers that are not
    clear no more than that is ever known.
    """
    if batch.options.gate == "router":
        rows = cheapest(batch.call.of(asked), found, len(asked))
        return _going_on(batch, asked, found, rows) if rows else {}
    least = direct_margin(batch.call.vlm, batch.options)
    if least is None:
        return {}
    rows = [row for row, first in enumerate(begins) if first is None or first.margin >= least]
    if not rows:
        return {}
    return sure(_going_on(batch, asked, found, rows, least), least)


def second_opinions(batch: Batch, asked: Sequence[int], clear: Done, found: Read) -> Done:
    """Plain answers to what is not clear, where the options ask for them; see `easy`."""
    rows = [row for row, i in enumerate(asked) if i not in clear]
    if not rows or batch.options.second_opinion == "none":
        return {}
    return _going_on(batch, asked, found, rows, NEVER)


def _going_on(
    batch: Batch,
    asked: Sequence[int],
    found: Read,
    rows: Sequence[int],
    final_from: float = ALWAYS,
) -> Done:
    """Plain answers of some `rows` of the pass that looked."""
    chosen = [asked[row] for row in rows]
    part = batch.call.of(chosen)
    going_on = reader_of(part.vlm).chosen(part, found, rows)
    least = [final_from] * len(chosen)
    return decoded(part, batch, chosen, going_on, "direct", final_from=least)


def said(decoded: Decoded) -> Said:
    """The decoded answer, without the numbers of its decoding."""
    return Said(answer=decoded.text, margins=decoded.margins)


def whole(batch: Batch, indices: Sequence[int]) -> Done:
    """The whole image's answers, where there is nothing to crop."""
    if not indices:
        return {}
    part, requests = batch.call.of(indices), batch.chosen(indices)
    images, questions = [r.image for r in requests], [r.question for r in requests]
    found = read(part, query_prompts(images, questions, batch.options))
    return decoded(part, batch, indices, found, "direct")


def from_view(view: ViewRule, final_from: float = ALWAYS) -> CropRoute:
    """The route that answers all from what `view` shows of their regions."""

    def zoomed(batch: Batch, indices: Sequence[int], regions: Mapping[int, Region]) -> Done:
        part, places = batch.call.of(indices), [regions[i] for i in indices]
        prompts = view_prompts(part, batch.chosen(indices), places, batch.options, view)
        least = [final_from] * len(indices)
        return decoded(part, batch, indices, read(part, prompts), "zoom", final_from=least)

    return zoomed


def goes_on(vlm: VLM, options: CropOptions) -> bool:
    """True where an answer may go on from the pass that looked: at the gate, or beside the crop."""
    gated = options.gate == "router" or direct_margin(vlm, options) is not None
    return gated or options.second_opinion != "none"


def direct_margin(vlm: VLM, options: CropOptions) -> float | None:
    """The gate's threshold; without a calibration of this very model nothing is taken for easy."""
    if options.gate == "router":
        return None
    if options.direct_margin != "fitted":
        return options.direct_margin
    return vlm.calibration.direct_margin if vlm.calibration else None


def decoded(
    part: ModelCall,
    batch: Batch,
    indices: Sequence[int],
    found: Read,
    route: Route,
    fusion: VATFusion | None = None,
    final_from: Sequence[float] = (),
) -> Done:
    """The requests' answers from what was read of them; see `decode_requests`."""
    answers = decode_requests(part, found, batch.chosen(indices), fusion, final_from)
    return {i: Answered(answer, route) for i, answer in zip(indices, answers, strict=True)}


def sure(done: Done, least: float) -> Done:
    """The answers whose first decided token won by at least `least` logits."""
    return {
        i: answered
        for i, answered in done.items()
        if answered.decoded.margins and answered.decoded.margins[0].margin >= least
    }
