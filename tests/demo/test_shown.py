"""What the demo shows of an answer, without a browser or gradio."""

from __future__ import annotations

import base64
import io
import math
import re
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from laser_tools.demo import cards, chat_cards
from laser_tools.demo.chatting import Step, Turn
from laser_tools.demo.pictures import MAX_SIDE_PX, Shown, heat_layer
from laser_tools.images.upright import UprightImage
from laser_tools.schema import (
    Abstain,
    Box,
    Evidence,
    GroundedAnswer,
    Localisation,
    Route,
    TokenMargin,
)
from laser_tools.tools.chatbot import Reply

SIZE = (2560, 1280)
WHERE = Localisation(
    layer_idx=1,
    vaq=(0.1, 0.8, 0.4),
    map=((0.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    map_box=Box(x0=640, y0=0, x1=1920, y1=1280),
)
ANSWER = GroundedAnswer(
    answer="<b>511</b>",
    confidence=0.98,
    route="verify",
    method="laser",
    model="pico",
    image_size=SIZE,
    evidence=(Evidence(box=Box(x0=1000, y0=500, x1=1200, y1=700), score=0.9),),
    crop_boxes=(Box(x0=800, y0=300, x1=1400, y1=900),),
    localisation=WHERE,
    margins=(
        TokenMargin(token="▁5", probability=0.9, margin=4.0, vat_margin=-1.0),
        TokenMargin(token="##1<", probability=1.0, margin=math.inf, vat_margin=None),
    ),
    timings_s={"encode": 0.1, "attend": 0.2, "crop": 0.0, "decode": 0.1, "total": 0.5},
)
BARE = ANSWER.model_copy(
    update={"confidence": None, "localisation": None, "margins": (), "timings_s": {}}
)


def image() -> UprightImage:
    return UprightImage.of(Image.new("RGB", SIZE, "white"))


def test_a_large_image_is_shown_smaller_and_its_boxes_with_it() -> None:
    shown = Shown.of(image())
    assert shown.pixels.size == (MAX_SIDE_PX, MAX_SIDE_PX // 2)
    (crop, crop_name), (evidence, name) = shown.outlines(ANSWER)
    assert (crop_name, name) == ("crop", "evidence")
    ys, xs = np.nonzero(evidence == 1)
    assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == (500, 250, 600, 350)
    assert 0 < evidence[300, 550] < 0.2  # what it is about stays in sight
    assert crop.shape == (640, 1280)


def test_a_crop_is_cut_from_the_original() -> None:
    shown = cards.crops(image(), ANSWER.crop_boxes)
    data = base64.b64decode(re.findall(r"base64,([^']+)", shown)[0])
    assert Image.open(io.BytesIO(data)).size == (600, 600)
    assert "x 800-1400, y 300-900 px" in shown


def test_heat_is_where_the_map_is() -> None:
    layer = heat_layer(WHERE)
    opacity = np.asarray(layer)[..., 3]
    rows, columns = opacity.shape
    assert opacity[-1, -1] == 255
    assert opacity[: rows // 4].max() == 0
    assert opacity[:, : columns // 3].max() == 0
    assert "left:25.00%;top:0.00%;width:50.00%;height:100.00%" in cards.heat(
        Shown.of(image()), WHERE
    )


def test_a_map_of_zeros_has_no_heat() -> None:
    empty = WHERE.model_copy(update={"map": ((0.0, 0.0), (0.0, 0.0))})
    assert np.asarray(heat_layer(empty))[..., 3].max() == 0


def test_words_of_others_are_escaped() -> None:
    shown = cards.answers("<i>?</i>", [ANSWER]) + cards.margins(ANSWER.margins)
    assert "&lt;b&gt;511&lt;/b&gt;" in shown
    assert "&lt;i&gt;" in shown
    assert "<b>511" not in shown
    assert "1&lt;" in shown
    assert "&lt;u&gt;" in cards.problem("<u>")


def test_a_planner_that_says_nothing_or_asks_a_book_is_shown_as_such() -> None:
    asked = Turn((Step("grounded_vqa", "img_1", "<b>" + "x" * 100_000),))
    shown = chat_cards.replied(asked, Reply(""), scripted=False)
    assert chat_cards.NOTHING_SAID in shown
    assert "<q>&lt;b&gt;xxx" in shown
    assert len(shown) < 1000


def test_numbers_are_those_of_the_answer() -> None:
    assert "98 %" in cards.answers("?", [ANSWER])
    chosen = cards.layers(WHERE)
    assert "class='chosen' title='layer 1: 0.800'" in chosen
    assert "height:50.0%" in chosen  # 0.4 of 0.8
    table = cards.margins(ANSWER.margins)
    assert "<code>5</code>" in table
    assert all(number in table for number in ("4.00", "0.90", "-1.00", "∞", "–"))
    assert "0.50 s" in cards.seconds([ANSWER])


@pytest.mark.parametrize("why", get_args(Abstain))
def test_a_withheld_answer_says_why(why: Abstain) -> None:
    shown = cards.answers("?", [ANSWER.model_copy(update={"abstain": why})])
    assert cards.REASONS[why] in shown
    assert "lt-abstained" in shown


def test_every_route_has_its_words() -> None:
    assert set(cards.ROUTES) == set(get_args(Route))


def test_what_an_answer_does_not_have_is_said_not_invented() -> None:
    assert "confidence unknown" in cards.answers("?", [BARE])
    assert "did not look" in cards.heat(Shown.of(image()), None)
    assert "No crop" in cards.crops(image(), ())
    assert "No VAQ" in cards.layers(None)
    assert "no token" in cards.margins(())
    assert "does not tell" in cards.seconds([BARE])
