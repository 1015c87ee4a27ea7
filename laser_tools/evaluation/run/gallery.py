"""Wins and harms of a method: questions that it alone got right or wrong, with map and boxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw

from laser_tools.errors import LaserError
from laser_tools.evaluation.benchmarks.base import Item
from laser_tools.evaluation.run.heat import Heat
from laser_tools.evaluation.run.lines import Judgement, Line, Lines
from laser_tools.schema import Box

WIDTH_PX = 420  # of a picture in the gallery
TRUTH, CROP, GLOW = (46, 160, 67), (255, 255, 255), (209, 36, 47)

Pair = tuple[Line, Judgement, Judgement]
"""A method's line, what it is worth, and what plain's is."""


@dataclass(frozen=True)
class Card:
    """One question: what plain asking said, what the method said, and where it looked."""

    line: Line
    judged: Judgement
    plain: Judgement
    picture: bytes | None  # JPEG; None where the picture is not at hand


def wins_and_harms(
    found: Lines, method: str, items: Iterable[Item], most: int
) -> tuple[list[Card], list[Card]]:
    """At most `most` questions that only the method got right, and that only plain did.

    They are spread over all that there are.
    """
    wins: list[Pair] = []
    harms: list[Pair] = []
    for (name, asked), line in found.lines.items():
        plain = found.lines.get((name, "plain"))
        if asked != method or not line.judged or not plain or not plain.judged:
            continue
        right, plain_right = line.outcome().right, plain.outcome().right
        if right != plain_right:
            (wins if right else harms).append((line, line.judged, plain.judged))
    wins, harms = _spread(wins, most), _spread(harms, most)
    pictures = _items(items, {line.item.id for line, _, _ in (*wins, *harms)})
    return (
        [_card(*pair, pictures) for pair in wins],
        [_card(*pair, pictures) for pair in harms],
    )


def _items(items: Iterable[Item], wanted: set[str]) -> dict[str, Item]:
    """Those with these ids; no more are made than it takes."""
    found: dict[str, Item] = {}
    for item in items if wanted else ():
        if item.id in wanted:
            found[item.id] = item
        if len(found) == len(wanted):
            break
    return found


def _spread(found: Sequence[Pair], most: int) -> list[Pair]:
    """`most` of them at even distances."""
    if len(found) <= most:
        return list(found)
    return [found[i * len(found) // most] for i in range(most)]


def _card(line: Line, judged: Judgement, plain: Judgement, pictures: Mapping[str, Item]) -> Card:
    item = pictures.get(line.item.id)
    try:
        image = item.image().pixels if item else None
    except LaserError:  # moved since
        image = None
    picture = None if image is None else drawn(image, line, judged)
    return Card(line, judged, plain, picture)


def drawn(image: Image.Image, line: Line, judged: Judgement) -> bytes:
    """The picture with the map as a glow, the crop in white and the true boxes in green."""
    scale = WIDTH_PX / image.width
    small = image.resize((WIDTH_PX, max(round(image.height * scale), 1)))
    if judged.heat:
        _glow(small, judged.heat, scale)
    canvas = ImageDraw.Draw(small)
    for box in judged.answer.crop_boxes:
        _outline(canvas, box, scale, CROP)
    for box in line.item.evidence:
        _outline(canvas, box, scale, TRUTH)
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _glow(image: Image.Image, heat: Heat, scale: float) -> None:
    left, top, right, bottom = (round(side * scale) for side in heat.box.as_tuple())
    strength = (170 * np.sqrt(heat.grid())).astype(np.uint8)
    size = max(right - left, 1), max(bottom - top, 1)
    mask = Image.fromarray(strength).resize(size, Image.Resampling.BILINEAR)
    image.paste(Image.new("RGB", size, GLOW), (left, top), mask)


def _outline(
    canvas: ImageDraw.ImageDraw, box: Box, scale: float, colour: tuple[int, int, int]
) -> None:
    corners = [round(side * scale) for side in box.as_tuple()]
    inner = (corners[0], corners[1], max(corners[2] - 1, 0), max(corners[3] - 1, 0))
    canvas.rectangle(inner, outline=(0, 0, 0), width=1)
    left, top, right, bottom = inner
    if right - left > 2 and bottom - top > 2:
        canvas.rectangle((left + 1, top + 1, right - 1, bottom - 1), outline=colour, width=2)
