"""A subject without a model: its answers follow from the question, so every figure is known."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace as replace

import numpy as np
from PIL import Image

from laser_tools.evaluation.bench import Maps
from laser_tools.evaluation.benchmarks.base import Item
from laser_tools.images.upright import UprightImage
from laser_tools.options import LaserOptions
from laser_tools.schema import (
    AnswerRequest,
    Box,
    Evidence,
    GroundedAnswer,
    Localisation,
    TokenMargin,
)

SIDE = 64
TYPES = ("existence", "reading")
TRUE_BOX = Box(x0=32, y0=0, x1=64, y1=32)  # top right quarter
FULL = Box(x0=0, y0=0, x1=SIDE, y1=SIDE)
QUESTION_CLASSES = 8


def items(n: int) -> list[Item]:
    """Items in turn of the two types; every existence item has nothing to find."""
    return [_item(i) for i in range(n)]


def _item(i: int) -> Item:
    kind = TYPES[i % 2]
    evidence = (TRUE_BOX,) if kind == "reading" else ()
    image = UprightImage.of(Image.new("RGB", (SIDE, SIDE)))
    return Item(str(i), lambda: image, f"{kind} {i}?", (f"a{i}",), kind, evidence=evidence)


def asked(number: int) -> AnswerRequest:
    """The question of an item, through LASER."""
    item = items(number)[-1]
    return AnswerRequest(image=item.image(), question=item.question)


def said(text: str) -> GroundedAnswer:
    return GroundedAnswer(
        answer=text, confidence=None, route="plain", method="plain", model="", image_size=(1, 1)
    )


class FakeSubject:
    """Existence: always right. Reading: plain never; LASER when `hard(i)` is false; oracle always.

    With alpha 0 LASER is plain. Stages cost what `timings_s` says: attend only through LASER.
    """

    name, n_layers = "fake", 4

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []
        self.asked: list[LaserOptions] = []
        self.requests: list[AnswerRequest] = []

    def ask(self, requests: Sequence[AnswerRequest], options: LaserOptions) -> list[GroundedAnswer]:
        self.batch_sizes.append(len(requests))
        self.requests += requests
        self.asked.append(options)
        return [self._answer(request, options) for request in requests]

    def direct_margin(self, options: LaserOptions) -> float | None:
        return None if options.direct_margin == "fitted" else options.direct_margin

    def maps(self, items: Sequence[Item], options: LaserOptions) -> list[Maps]:
        top_right = np.array([[0.0, 1.0], [0.0, 0.0]])
        grids = {"raw": np.ones((2, 2)), "relative": top_right + 1, "contrastive": top_right}
        return [Maps(grids, FULL) for _ in items]

    def _answer(self, request: AnswerRequest, options: LaserOptions) -> GroundedAnswer:
        kind, number = request.question.rstrip("?").split()
        laser = request.method in ("laser", "raw-attention") and options.alpha > 0
        right = kind == "existence" or (laser and (request.box is not None or not hard(number)))
        plain = GroundedAnswer(
            answer=f"A{number}" if right else "wrong",
            confidence=0.75 if right else 0.25,
            route="verify" if laser else "plain",
            method=request.method,
            model="fake",
            image_size=request.image.size,
            margins=(_margin(number, right),),
            timings_s={"decode": 0.2, **({"attend": 0.1} if laser else {})},
        )
        return plain.model_copy(update=_place(right, options)) if laser else plain


def hard(number: str) -> bool:
    """A question of a kind that LASER misses: one in four."""
    return int(number) // 2 % 4 == 0


def _margin(number: str, right: bool) -> TokenMargin:
    """Right answers win clearly, with some overlap; the softmax says nothing."""
    noise = zlib.crc32(number.encode()) % 1000 / 1000
    return TokenMargin(
        token=number, probability=0.5, margin=noise + (0.7 if right else 0.0), vat_margin=None
    )


def _place(right: bool, options: LaserOptions) -> dict[str, object]:
    layer = 2 if isinstance(options.layer, str) else options.layer
    box = TRUE_BOX if right else Box(x0=0, y0=32, x1=32, y1=64)
    return {
        "crop_boxes": (box,),
        "evidence": (Evidence(box=box, score=0.5),),
        "localisation": Localisation(
            layer_idx=layer,
            vaq=(0.1, 0.2, 0.3, 0.1),
            map=((0.0, 1.0), (0.0, 0.0)),
            map_box=FULL,
        ),
    }
