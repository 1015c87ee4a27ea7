"""Look, crop, answer: the way of every method that answers from a crop.

    look -> region -> easy     the whole image's answer, where it is clear enough
                   -> whole    the same, where nothing was found to crop
                   -> zoomed   from the crop, where that is clear enough
                   -> verified from two streams, one of which does not see the evidence

A route returns only the answers it is sure of; the next one is asked about the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from laser_tools.grounding.regions import Region, region_of_box
from laser_tools.grounding.vat import VATFusion
from laser_tools.methods.base import decode_requests, limits_of, query_prompts
from laser_tools.methods.localise import AttentionMaps, Localiser
from laser_tools.methods.masking import read_both, view_prompts
from laser_tools.options import CropOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer, Route
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.decode import Decoded, first_margins
from laser_tools.vlm.model import VLM
from laser_tools.vlm.reading import read, reader_of
from laser_tools.vlm.reading.base import Read

RegionRule = Callable[[AttentionMaps, tuple[int, int], Any], Region | None]
"""(maps, size of the image (width, height) in pixels, options) -> where to look, if anywhere."""


@dataclass(frozen=True)
class Answered:
    """A decoded answer and how it was reached."""

    decoded: Decoded
    route: Route


Done = dict[int, Answered]
"""Answers by the index of their request."""


@dataclass(frozen=True)
class CropMethod:
    """A rule where to look, and a rule what to crop there."""

    localise: Localiser
    region: RegionRule
    name: Callable[[Any], str]  # of the options: what the answer says of how it was made

    def answer(
        self, call: ModelCall, requests: Sequence[AnswerRequest], options: CropOptions
    ) -> list[GroundedAnswer]:
        """Answers with evidence. A request with a `box` looks there, and is not localised."""
        batch = _Batch(call, requests, options)
        maps, done = self._look(batch)
        regions = self._regions(batch, maps)
        done |= whole(batch, [i for i in batch.left(done) if i not in regions])
        done |= zoomed(batch, batch.left(done), regions)
        done |= verified(batch, batch.left(done), regions)
        return [self._grounded(batch, i, done[i], maps, regions) for i in range(len(requests))]

    def _look(self, batch: _Batch) -> tuple[dict[int, AttentionMaps], Done]:
        asked = [i for i, request in enumerate(batch.requests) if request.box is None]
        if not asked:
            return {}, {}
        part, requests = batch.call.of(asked), batch.chosen(asked)
        images, questions = [r.image for r in requests], [r.question for r in requests]
        prompts = query_prompts(images, questions, batch.options)
        looked = self.localise(part, prompts, batch.options)
        return dict(zip(asked, looked.maps, strict=True)), easy(batch, asked, looked.read)

    def _regions(self, batch: _Batch, maps: Mapping[int, AttentionMaps]) -> dict[int, Region]:
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
        if request.box is not None:
            return region_of_box(request.box, request.image.size, options)
        return None if maps is None else self.region(maps, request.image.size, options)

    def _grounded(
        self,
        batch: _Batch,
        i: int,
        answered: Answered,
        maps: Mapping[int, AttentionMaps],
        regions: Mapping[int, Region],
    ) -> GroundedAnswer:
        request, region = batch.requests[i], regions.get(i)
        cropped = region is not None and answered.route != "direct"
        return GroundedAnswer(
            answer=answered.decoded.text,
            confidence=None,
            route=answered.route,
            method=self.name(batch.options),
            model=batch.call.vlm.name,
            image_size=request.image.size,
            evidence=region.evidence if region else (),
            crop_boxes=(region.crop,) if region and cropped else (),
            localisation=maps[i].as_localisation() if i in maps else None,
            margins=answered.decoded.margins,
            prefix_hits=batch.call.hits(request.image),
        )


@dataclass(frozen=True)
class _Batch:
    """Requests that are answered together."""

    call: ModelCall
    requests: Sequence[AnswerRequest]
    options: CropOptions

    def left(self, done: Mapping[int, Answered]) -> list[int]:
        """The requests without an answer."""
        return [i for i in range(len(self.requests)) if i not in done]

    def chosen(self, indices: Sequence[int]) -> list[AnswerRequest]:
        return [self.requests[i] for i in indices]


def easy(batch: _Batch, asked: Sequence[int], found: Read) -> Done:
    """Plain answers whose first token wins clearly: they go on from the pass that looked.

    `found` holds the requests `asked` first. Of those that are not clear, only the first token's
    margin is ever known.
    """
    call, least = batch.call.of(asked), direct_margin(batch.call.vlm, batch.options)
    if least is None:
        return {}
    margins = first_margins(call.vlm, found, limits_of(call, found, batch.chosen(asked)))
    rows = [row for row, margin in enumerate(margins) if margin >= least]
    if not rows:
        return {}
    clear = [asked[row] for row in rows]
    part = batch.call.of(clear)
    going_on = reader_of(call.vlm).chosen(part, found, rows)
    return _sure(_decoded(part, batch, clear, going_on, "direct"), least)


def whole(batch: _Batch, indices: Sequence[int]) -> Done:
    """The whole image's answers, where there is nothing to crop."""
    if not indices:
        return {}
    part, requests = batch.call.of(indices), batch.chosen(indices)
    images, questions = [r.image for r in requests], [r.question for r in requests]
    found = read(part, query_prompts(images, questions, batch.options))
    return _decoded(part, batch, indices, found, "direct")


def zoomed(batch: _Batch, indices: Sequence[int], regions: Mapping[int, Region]) -> Done:
    """Answers from the crop alone whose first token wins by `verify_margin`."""
    least = batch.options.verify_margin
    if least is None or not indices:
        return {}
    part = batch.call.of(indices)
    places = [regions[i] for i in indices]
    prompts = view_prompts(part, batch.chosen(indices), places, batch.options)
    return _sure(_decoded(part, batch, indices, read(part, prompts), "zoom"), least)


def verified(batch: _Batch, indices: Sequence[int], regions: Mapping[int, Region]) -> Done:
    """Crop against crop without its evidence, fused token by token (LASER eqs. 10-11)."""
    if not indices:
        return {}
    part = batch.call.of(indices)
    places = [regions[i] for i in indices]
    found = read_both(part, batch.chosen(indices), places, batch.options)
    fusion = VATFusion(batch.options.alpha, batch.options.beta)
    return _decoded(part, batch, indices, found, "verify", fusion)


def direct_margin(vlm: VLM, options: CropOptions) -> float | None:
    """The gate's threshold; without a calibration of this very model nothing is taken for easy."""
    if options.direct_margin != "fitted":
        return options.direct_margin
    return vlm.calibration.direct_margin if vlm.calibration else None


def _decoded(
    part: ModelCall,
    batch: _Batch,
    indices: Sequence[int],
    found: Read,
    route: Route,
    fusion: VATFusion | None = None,
) -> Done:
    decoded = decode_requests(part, found, batch.chosen(indices), fusion)
    return {i: Answered(answer, route) for i, answer in zip(indices, decoded, strict=True)}


def _sure(done: Done, least: float) -> Done:
    """The answers whose first decided token won by at least `least` logits."""
    return {
        i: answered
        for i, answered in done.items()
        if answered.decoded.margins and answered.decoded.margins[0].margin >= least
    }
