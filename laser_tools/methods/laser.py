"""LASER (arXiv 2602.04304): contrast with and without the query, crop, verify, answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from laser_tools.grounding.abstain import abstention
from laser_tools.grounding.regions import Region, find_region, find_regions
from laser_tools.grounding.vat import VATFusion
from laser_tools.methods.base import Method, query_prompts
from laser_tools.methods.localise import AttentionMaps, contrastive
from laser_tools.methods.masking import read_both
from laser_tools.methods.pipeline import (
    Answered,
    Batch,
    CropMethod,
    Done,
    decoded,
    from_view,
    said,
    sure,
)
from laser_tools.methods.views import positive_view
from laser_tools.options import (
    AbstainOptions,
    AgainOptions,
    LaserOptions,
    LookOptions,
    RegionOptions,
)
from laser_tools.schema import Said, ZoomRequest, ZoomResult
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.model import VLM


def con_vicrop(
    maps: AttentionMaps, image_size: tuple[int, int], options: RegionOptions
) -> Region | None:
    """The region of the map's top patches; None where the query changed nothing."""
    return find_region(maps.map, maps.map_box, image_size, options)


def clear_crop(batch: Batch, indices: Sequence[int], regions: Mapping[int, Region]) -> Done:
    """Answers from the crop alone whose first token wins by `verify_margin`."""
    least = batch.options.verify_margin
    if least is None:
        return {}
    return sure(from_view(positive_view)(batch, indices, regions), least)


def verified(batch: Batch, indices: Sequence[int], regions: Mapping[int, Region]) -> Done:
    """Crop against crop without its evidence, fused token by token (LASER eqs. 10-11).

    What is still in doubt then is looked for again inside its crop; the surer answer stays.
    """
    done = _two_streams(batch, indices, regions)
    margin = again_margin(batch.call.vlm, batch.options)
    doubtful = [i for i in indices if _in_doubt(done[i], regions[i], margin, batch.options)]
    closer = _inside_crops(batch, doubtful, regions) if doubtful else {}
    return done | {
        i: found
        for i, found in closer.items()
        if overrules(said(found.decoded), said(done[i].decoded), batch.options)
    }


def _two_streams(batch: Batch, indices: Sequence[int], regions: Mapping[int, Region]) -> Done:
    part, places = batch.call.of(indices), [regions[i] for i in indices]
    found = read_both(part, batch.chosen(indices), places, batch.options)
    fusion = VATFusion(batch.options.alpha, batch.options.beta)
    return decoded(part, batch, indices, found, "verify", fusion)


def again_margin(vlm: VLM, options: AgainOptions) -> float | None:
    """The margin below which an answer is in doubt; without a calibration of this model none is."""
    if options.again_margin != "fitted":
        return options.again_margin
    return vlm.calibration.again_margin if vlm.calibration else None


def _in_doubt(
    answered: Answered, region: Region, margin: float | None, options: AgainOptions
) -> bool:
    """True where the answer is not clear and there is one place that has enough of the map."""
    if margin is None or region.evidence[0].score < options.again_share:
        return False
    return _first(said(answered.decoded)) < margin


def overrules(closer: Said, before: Said, options: AbstainOptions) -> bool:
    """The surer one does; but one that finds nothing overrules no answer: it saw less."""
    if abstention(closer.answer, options) and not abstention(before.answer, options):
        return False
    return _first(closer) > _first(before)


def _first(answer: Said) -> float:
    """The margin of the first token that was decided, in logits."""
    return answer.margins[0].margin if answer.margins else math.inf


def _inside_crops(batch: Batch, indices: Sequence[int], regions: Mapping[int, Region]) -> Done:
    """LASER again, about the crops alone; answers with regions in the frame of the whole images."""
    part, corners = batch.call.of(indices), {i: regions[i].crop for i in indices}
    requests = list(batch.requests)
    for i in indices:
        requests[i] = requests[i].model_copy(
            update={"image": requests[i].image.crop(regions[i].crop)}
        )
    inner = Batch(batch.call, requests, batch.options)
    asked = inner.chosen(indices)
    prompts = query_prompts([r.image for r in asked], [r.question for r in asked], batch.options)
    looked = contrastive(part, prompts, batch.options)
    found = {
        i: region
        for i, maps in zip(indices, looked.maps, strict=True)
        if (region := con_vicrop(maps, requests[i].image.size, batch.options)) is not None
    }
    done = _two_streams(inner, list(found), found) if found else {}
    return {
        i: replace(answered, region=found[i].moved(corners[i].x0, corners[i].y0))
        for i, answered in done.items()
    }


ROUTES = (clear_crop, verified)


def _name(options: LookOptions) -> str:
    return "fixed-layer" if isinstance(options.layer, int) else "laser"


METHOD = Method(
    CropMethod(contrastive, con_vicrop, ROUTES, _name).answer, LaserOptions, calibrated=True
)


def zoom(
    call: ModelCall, requests: Sequence[ZoomRequest], options: LaserOptions
) -> list[ZoomResult]:
    """Where to look for each `what`; no regions where the query changed nothing."""
    images = [request.image for request in requests]
    questions = [zoom_question(request.what, options) for request in requests]
    looked = contrastive(call, query_prompts(images, questions, options), options)
    pairs = zip(requests, looked.maps, strict=True)
    return [_zoomed(call, request, maps, options) for request, maps in pairs]


def zoom_question(what: str, options: LookOptions) -> str:
    """The question that looks for `what`; a question is asked as it is."""
    what = what.strip()
    if what.endswith("?"):
        return what
    first, _, rest = what.partition(" ")
    bare = rest if first.lower() in ("the", "a", "an") and rest else what
    return options.zoom_template.format(what=bare)


def _zoomed(
    call: ModelCall, request: ZoomRequest, maps: AttentionMaps, options: RegionOptions
) -> ZoomResult:
    with call.stage("crop"):
        regions = find_regions(
            maps.map, maps.map_box, request.image.size, options, request.n_regions
        )
    return ZoomResult(
        model=call.vlm.name,
        image_size=request.image.size,
        evidence=tuple(region.evidence[0] for region in regions),
        crop_boxes=tuple(region.crop for region in regions),
        localisation=maps.as_localisation(),
        prefix_hits=call.hits(request.image),
    )
