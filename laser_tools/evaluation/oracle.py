"""The oracle: LASER with the truth in place of its localisation, as a ceiling for localisers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from laser_tools.evaluation.ask import Ask, request_of
from laser_tools.evaluation.benchmarks.base import Item
from laser_tools.evaluation.metrics import evidence_share
from laser_tools.grounding.regions import crop_around
from laser_tools.methods.laser import overrules
from laser_tools.options import LaserOptions
from laser_tools.schema import MAX_BOXES, AnswerRequest, Box, GroundedAnswer, Said


def ask_oracle(ask: Ask, items: Sequence[Item], options: LaserOptions) -> list[GroundedAnswer]:
    """Plain answers where LASER's gate keeps them or nothing is to be found; else from crops.

    The gate is `options.direct_margin` in logits ("fitted", a model's own, is not known here: no
    gate). The crops are decoded alone, without VAT, so nothing of the evidence is masked. Unless
    `options.again_margin` is None, a crop that can be cropped again around all of the evidence is,
    and the surer answer stays, as LASER's does.
    """
    answers = ask([request_of(item, "plain") for item in items], options)
    told = [i for i, item in enumerate(items) if item.evidence and not _easy(answers[i], options)]
    crop_alone = options.model_copy(update={"verify_margin": 0.0})  # a margin is never below
    crops = {i: true_crops(items[i], options) for i in told}
    zoomed = _asked(ask, {i: _told(items[i], crops[i]) for i in told}, crop_alone)
    if options.again_margin is not None:
        inside = {i: _inside(items[i], only[0]) for i, only in crops.items()}
        zoomed |= _closer(ask, {i: x for i, x in inside.items() if x}, zoomed, crop_alone)
    return [zoomed.get(i, plain) for i, plain in enumerate(answers)]


def _asked(
    ask: Ask, requests: Mapping[int, AnswerRequest], options: LaserOptions
) -> dict[int, GroundedAnswer]:
    return dict(
        zip(requests, ask(list(requests.values()), options) if requests else [], strict=True)
    )


def _closer(
    ask: Ask,
    inside: Mapping[int, Item],
    before: Mapping[int, GroundedAnswer],
    options: LaserOptions,
) -> dict[int, GroundedAnswer]:
    """The surer answers inside crops, of the items in them; in the frame of the whole images."""
    inner = {i: true_crops(item, options) for i, item in inside.items()}
    held = {i: c for i, c in inner.items() if evidence_share(inside[i].evidence, c[0]) == 1.0}
    found = _asked(ask, {i: _told(inside[i], c) for i, c in held.items()}, options)
    return {
        i: _moved(answer, before[i])
        for i, answer in found.items()
        if overrules(_said(answer), _said(before[i]), options)
    }


def _inside(item: Item, crop: Box) -> Item | None:
    """The item about the crop alone; None where that cuts evidence off."""
    if evidence_share(item.evidence, crop) < 1.0:
        return None
    evidence = tuple(box.moved(-crop.x0, -crop.y0) for box in item.evidence)
    return replace(item, image=lambda: item.image().crop(crop), evidence=evidence)


def _moved(answer: GroundedAnswer, before: GroundedAnswer) -> GroundedAnswer:
    """The answer from inside the crop of the one before, in that one's frame."""
    corner = before.crop_boxes[0]
    boxes = tuple(box.moved(corner.x0, corner.y0) for box in answer.crop_boxes)
    same = {"evidence": before.evidence, "image_size": before.image_size}
    return answer.model_copy(update={"crop_boxes": boxes, **same})


def _said(answer: GroundedAnswer) -> Said:
    return Said(answer=answer.answer, margins=answer.margins)


def true_crops(item: Item, options: LaserOptions) -> tuple[Box, ...]:
    """The crop of LASER's size around all true boxes; where it cuts one off, a crop around each.

    In pixels of the image. Of more boxes than a question may have crops, the crop that holds most.
    """
    boxes, size = item.evidence, item.image().size
    together = crop_around(union(boxes), size, options, cover=False)
    if evidence_share(boxes, together) == 1.0:
        return (together,)
    each = tuple(dict.fromkeys(crop_around(box, size, options, cover=False) for box in boxes))
    if len(each) <= MAX_BOXES:
        return each
    pairs = (union(pair) for pair in combinations(boxes, 2))
    of_pairs = (crop_around(pair, size, options, cover=False) for pair in pairs)
    return (max((together, *of_pairs, *each), key=lambda crop: evidence_share(boxes, crop)),)


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box around all of `boxes`."""
    return Box(
        x0=min(box.x0 for box in boxes),
        y0=min(box.y0 for box in boxes),
        x1=max(box.x1 for box in boxes),
        y1=max(box.y1 for box in boxes),
    )


def _told(item: Item, crops: tuple[Box, ...]) -> AnswerRequest:
    request = request_of(item, "laser", crops[0])
    return request.model_copy(update={"further_boxes": crops[1:]})


def _easy(plain: GroundedAnswer, options: LaserOptions) -> bool:
    least = options.direct_margin
    if least is None or least == "fitted" or not plain.margins:
        return False
    return plain.margins[0].margin >= least
