"""The arms of a comparison: the same items asked in several ways, batch by batch.

Items are drawn once and every arm is asked about them before the next batch is drawn, so all arms
see the same pixels and memory stays at one batch of images.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from laser_tools.errors import InvalidRequest
from laser_tools.evaluation.metrics import box_hit, is_right
from laser_tools.images.upright import UprightImage
from laser_tools.options import LaserOptions
from laser_tools.schema import AnswerRequest, Box, GroundedAnswer

if TYPE_CHECKING:
    from laser_tools.pico.items import Item

BATCH_SIZE = 16

Ask = Callable[[Sequence[AnswerRequest], LaserOptions], list[GroundedAnswer]]
"""Answers in the order of the requests, each by its own `method`."""


@dataclass(frozen=True)
class Arm:
    """One way to ask. `oracle` is LASER told the true box (plain where there is none)."""

    name: str
    options: LaserOptions
    use: Literal["plain", "laser", "oracle"] = "laser"


@dataclass(frozen=True)
class Outcome:
    """One answer judged. `hit` is None where nothing was cropped or nothing is to be found."""

    type: str
    right: bool
    hit: bool | None
    wall_s: float  # this question's share of its batch
    result: GroundedAnswer


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last one maybe shorter."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def run_arm(ask: Ask, arm: Arm, items: Sequence[Item]) -> list[Outcome]:
    """Ask one batch in one way and judge the answers."""
    requests = [_request(arm, item) for item in items]
    start = time.perf_counter()
    results = ask(requests, arm.options)
    wall_s = (time.perf_counter() - start) / len(items)
    return [_judge(item, result, wall_s) for item, result in zip(items, results, strict=True)]


def _request(arm: Arm, item: Item) -> AnswerRequest:
    plain = arm.use == "plain" or (arm.use == "oracle" and not item.evidence)
    return AnswerRequest(
        image=UprightImage.of(item.image),
        question=item.question,
        method="plain" if plain else "laser",
        box=union(item.evidence) if arm.use == "oracle" and item.evidence else None,
    )


def _judge(item: Item, result: GroundedAnswer, wall_s: float) -> Outcome:
    located = bool(result.crop_boxes and item.evidence)
    hit = box_hit(item.evidence, result.crop_boxes[0]) if located else None
    return Outcome(item.type, is_right(result.answer, item.answer), hit, wall_s, result)


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box around all of `boxes`."""
    return Box(
        x0=min(box.x0 for box in boxes),
        y0=min(box.y0 for box in boxes),
        x1=max(box.x1 for box in boxes),
        y1=max(box.y1 for box in boxes),
    )


def with_overrides(options: LaserOptions, pairs: Iterable[str]) -> LaserOptions:
    """`options` changed by `key=value` texts; values are JSON where they parse, else text.

    Raises InvalidRequest on an unknown key, a value out of range or a text without "=".
    """
    changes = dict(_pair(text) for text in pairs)
    unknown = sorted(set(changes) - set(LaserOptions.model_fields))
    if unknown:
        known = ", ".join(sorted(LaserOptions.model_fields))
        raise InvalidRequest(f"There is no option {', '.join(unknown)}; the options are {known}.")
    try:
        return LaserOptions.model_validate({**options.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][:1]) or "options"
        raise InvalidRequest(f"Option {name} cannot be set so: {first['msg']}.") from None


def _pair(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidRequest(f"An option is written key=value, not {text!r}.")
    if value.lower() == "none":
        return key, None
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
