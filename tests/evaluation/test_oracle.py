from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from laser_tools.engine import LocalEngine
from laser_tools.evaluation.benchmarks.base import Item
from laser_tools.evaluation.metrics import evidence_share
from laser_tools.evaluation.oracle import ask_oracle, true_crops
from laser_tools.images.upright import UprightImage
from laser_tools.options import LaserOptions
from laser_tools.schema import AnswerRequest, Box, GroundedAnswer
from tests.evaluation import fakes
from tests.toys import picture, toy_llava

OPTIONS = LaserOptions(min_crop_px=1)


def at(x: int, y: int, side: int = 4) -> Box:
    return Box(x0=x, y0=y, x1=x + side, y1=y + side)


def item(*boxes: Box) -> Item:
    image = UprightImage.of(Image.new("RGB", (fakes.SIDE, fakes.SIDE)))
    return replace(fakes.items(2)[1], image=lambda: image, evidence=boxes)


def test_crops_are_never_larger_than_lasers() -> None:
    corners = item(at(0, 0), at(60, 0), at(0, 60), at(60, 60))
    assert {(crop.width, crop.height) for crop in true_crops(corners, OPTIONS)} == {(32, 32)}


def test_the_crop_holds_everything_that_fits_and_is_centred_on_it() -> None:
    together = (Box(x0=16, y0=16, x1=48, y1=48),)
    assert true_crops(item(at(20, 20), at(40, 40)), OPTIONS) == together


def test_where_not_all_fits_each_box_has_a_crop() -> None:
    boxes = (at(0, 0), at(30, 0), at(60, 60))
    crops = true_crops(item(*boxes), OPTIONS)
    assert len(crops) == 3
    assert all(evidence_share([box], crop) == 1 for box, crop in zip(boxes, crops, strict=True))
    assert evidence_share(boxes, *crops) == 1


def test_of_too_many_boxes_the_crop_holds_the_most() -> None:
    boxes = (at(0, 0), at(20, 0), at(60, 60), at(60, 20), at(20, 60))
    (crop,) = true_crops(item(*boxes), OPTIONS)
    assert evidence_share(boxes, crop) == 2 / 5


def test_what_the_gate_keeps_is_not_asked_again() -> None:
    subject = fakes.FakeSubject()
    plain = [fakes.items(4)[i] for i in (1, 3)]  # plain asking is wrong, its margins below 1
    kept = ask_oracle(subject.ask, plain, LaserOptions(direct_margin=0.0))
    assert [answer.route for answer in kept] == ["plain", "plain"]
    told = ask_oracle(subject.ask, plain, LaserOptions(direct_margin=5.0))
    assert [answer.answer for answer in told] == ["A1", "A3"]
    assert subject.asked[-1].verify_margin == 0.0


def test_nothing_to_find_is_asked_plainly() -> None:
    asked: list[AnswerRequest] = []

    def ask(requests: Sequence[AnswerRequest], options: LaserOptions) -> list[GroundedAnswer]:
        asked.extend(requests)
        return fakes.FakeSubject().ask(requests, options)

    ask_oracle(ask, [fakes.items(1)[0], item(fakes.TRUE_BOX)], OPTIONS)
    assert [request.method for request in asked] == ["plain", "plain", "laser"]
    assert [request.box for request in asked] == [None, None, fakes.TRUE_BOX]


def test_a_model_reads_the_crop_alone_without_vat() -> None:
    vlm, where = toy_llava(), (at(30, 30, 20), at(270, 230, 20))
    asked = replace(item(*where), image=picture, question="what colour is the star?")

    def ask(requests: Sequence[AnswerRequest], options: LaserOptions) -> list[GroundedAnswer]:
        return LocalEngine(vlm, options).answer(requests)

    options = LaserOptions(direct_margin=None)
    (answer,) = ask_oracle(ask, [asked], options)
    assert (answer.route, len(answer.crop_boxes)) == ("zoom", 2)
    assert answer.crop_boxes == true_crops(asked, options)
    assert all(token.vat_margin is None for token in answer.margins)


def test_a_crop_around_all_of_the_evidence_is_cropped_again_and_the_surer_answer_stays() -> None:
    vlm, where = toy_llava(), at(30, 30, 20)
    asked = replace(item(where), image=picture, question="what colour is the star?")
    requests: list[AnswerRequest] = []

    def ask(batch: Sequence[AnswerRequest], options: LaserOptions) -> list[GroundedAnswer]:
        requests.extend(batch)
        return LocalEngine(vlm, options).answer(batch)

    options = LaserOptions(direct_margin=None, min_crop_px=32)
    (answer,) = ask_oracle(ask, [asked], options)
    _, first, closer = requests
    assert first.box is not None
    assert closer.image.size == (first.box.width, first.box.height)
    (crop,) = answer.crop_boxes
    assert evidence_share([where], crop) == 1
    assert answer.image_size == picture().size
    alone = LocalEngine(vlm, options.model_copy(update={"verify_margin": 0.0}))
    surest = max(alone.answer([first, closer]), key=lambda said: said.margins[0].margin)
    assert answer.answer == surest.answer

    requests.clear()
    ask_oracle(ask, [asked], options.model_copy(update={"again_margin": None}))
    assert len(requests) == 2
