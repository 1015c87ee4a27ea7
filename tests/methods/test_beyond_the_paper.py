"""Second opinions, several crops and LASER inside its crop, against the steps done by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from laser_tools.engine import LocalEngine
from laser_tools.evaluation.same_answer import differences
from laser_tools.grounding.confidence import Calibration, Logistic, features
from laser_tools.options import LaserOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer
from laser_tools.vlm.model import VLM
from tests.toys import picture, toy_llava, toy_qwen

TOYS = pytest.mark.parametrize("toy", [toy_llava, toy_qwen])
ALWAYS = 1e9  # no margin of an answer is as large


def requests() -> list[AnswerRequest]:
    return [
        AnswerRequest(image=picture(), question="what colour is the star?", max_new_tokens=3),
        AnswerRequest(image=picture(640, 500, 2), question="where?", choices=("left", "right")),
    ]


def asked(vlm: VLM, **options: object) -> list[GroundedAnswer]:
    return LocalEngine(vlm, LaserOptions.model_validate(options)).answer(requests())


@TOYS
def test_a_second_opinion_is_the_plain_answer_and_changes_nothing(toy: Callable[[], VLM]) -> None:
    vlm = toy()
    plain = LocalEngine(vlm).answer([r.model_copy(update={"method": "plain"}) for r in requests()])
    alone, beside = asked(vlm), asked(vlm, second_opinion="tell")
    for answer, own, other in zip(beside, alone, plain, strict=True):
        assert answer.plain is not None
        assert answer.plain.answer == other.answer
        found, expected = ([m.margin for m in said.margins] for said in (answer.plain, other))
        assert found == pytest.approx(expected, abs=1e-4)
        assert differences(answer.model_copy(update={"plain": None}), own, 1e-4) == []


@TOYS
def test_the_look_knows_what_plain_asking_would_begin_with(toy: Callable[[], VLM]) -> None:
    vlm = toy()
    plain = LocalEngine(vlm).answer([r.model_copy(update={"method": "plain"}) for r in requests()])
    for answer, other in zip(asked(vlm), plain, strict=True):
        assert answer.plain_begins is not None
        assert answer.plain_begins.token == other.margins[0].token
        assert answer.plain_begins.margin == pytest.approx(other.margins[0].margin, abs=1e-4)


def test_a_token_that_choices_leave_no_rival_is_no_beginning() -> None:
    forced = requests()[0].model_copy(update={"choices": ("red star", "red circle")})
    (answer,) = LocalEngine(toy_llava()).answer([forced])
    assert answer.plain_begins is None
    assert len(answer.margins) == 1  # the second token


def by_margin(options: LaserOptions) -> Calibration:
    """The larger the first margin, the likelier; a kept answer is always a little likelier."""
    names = tuple(features(asked(toy_llava())[0]))
    at = names.index("margin_first")
    weights = tuple(float(i == at) for i in range(len(names)))
    zeros, ones = (0.0,) * len(names), (1.0,) * len(names)
    routes = {
        route: Logistic(mean=zeros, scale=ones, weights=weights, intercept=intercept)
        for route, intercept in (("any", -3.0), ("kept", -2.9))
    }
    return Calibration(
        model_hash="", n=1, split="validation", options=options, features=names, routes=routes
    )


@TOYS
def test_the_surer_of_the_two_answers_is_given(toy: Callable[[], VLM]) -> None:
    options = LaserOptions(second_opinion="choose")
    told = asked(toy(), second_opinion="tell")
    vlm = replace(toy(), calibration=by_margin(options))
    for answer, before in zip(LocalEngine(vlm, options).answer(requests()), told, strict=True):
        assert before.plain is not None
        other = before.plain.margins[0].margin + 0.1 > before.margins[0].margin
        differs = before.plain.answer != before.answer
        assert answer.answer == (before.plain if other else before).answer
        assert (answer.route == "kept") == (other and differs)
        assert answer.plain is not None
        if answer.route == "kept":
            assert answer.plain.answer == before.answer
            assert answer.crop_boxes == ()
            assert [e.box for e in answer.evidence] == [e.box for e in before.evidence]
    uncalibrated = asked(toy(), second_opinion="choose")
    pairs = zip(uncalibrated, told, strict=True)
    assert [differences(*pair, 1e-4) for pair in pairs] == [[], []]


def test_an_easy_answer_and_a_given_box_have_no_second_opinion() -> None:
    (easy, _) = asked(toy_llava(), second_opinion="tell", direct_margin=-1.0)
    assert (easy.route, easy.plain) == ("direct", None)
    boxed = requests()[0].model_copy(update={"box": easy.evidence[0].box})
    (told,) = LocalEngine(toy_llava(), LaserOptions(second_opinion="tell")).answer([boxed])
    assert told.plain is None


@TOYS
def test_looking_again_is_laser_asked_about_its_crop(toy: Callable[[], VLM]) -> None:
    """The surer of LASER's answer and of LASER's answer about the crop alone, boxes moved back."""
    vlm, once = toy(), LaserOptions(max_crops=1)
    closer = 0
    for first, again in zip(
        asked(vlm, max_crops=1),
        asked(vlm, max_crops=1, again_margin=ALWAYS, again_share=0.0),
        strict=True,
    ):
        request = requests()[len(first.margins) == 1]
        (crop,) = first.crop_boxes
        inner = request.model_copy(update={"image": request.image.crop(crop)})
        (inside,) = LocalEngine(vlm, once).answer([inner])
        if inside.margins[0].margin <= first.margins[0].margin:
            assert differences(again, first, 1e-4) == []
            continue
        closer += 1
        assert again.answer == inside.answer
        assert again.crop_boxes == tuple(box.moved(crop.x0, crop.y0) for box in inside.crop_boxes)
        expected = [e.box.moved(crop.x0, crop.y0) for e in inside.evidence]
        assert [e.box for e in again.evidence] == expected
        assert again.localisation == first.localisation
    assert closer


@TOYS
def test_finding_nothing_closer_overrules_no_answer(toy: Callable[[], VLM]) -> None:
    vlm = toy()
    before, closer = asked(vlm), asked(vlm, again_margin=ALWAYS, again_share=0.0)
    changed = [i for i in range(2) if before[i].answer != closer[i].answer]
    assert changed
    words = tuple(closer[i].answer for i in changed)
    kept = asked(vlm, again_margin=ALWAYS, again_share=0.0, says_unclear=words)
    assert [kept[i].answer for i in changed] == [before[i].answer for i in changed]


def test_what_is_clear_or_spread_out_is_not_looked_at_again() -> None:
    vlm = toy_llava()
    for options in ({"again_margin": 0.0}, {"again_margin": ALWAYS, "again_share": 1.0}):
        pairs = zip(asked(vlm), asked(vlm, **options), strict=True)
        assert [differences(*pair, 1e-4) for pair in pairs] == [[], []]


@TOYS
@pytest.mark.parametrize("view", ["crop", "image+crop"])
@pytest.mark.parametrize("negative", ["auto", "pixels"])
def test_further_places_get_crops_of_their_own(
    toy: Callable[[], VLM], view: str, negative: str
) -> None:
    options = {"view": view, "negative": negative, "k_patch": 0.005, "crop_ratio": 0.2}
    options |= {"min_crop_px": 40, "further_share": 0.0}
    several = 0
    for answer in asked(toy(), **options, max_crops=3):
        n = len(answer.crop_boxes)
        several += n > 1
        assert n <= 3
        assert {e.region for e in answer.evidence} == set(range(n))
        for found in answer.evidence:
            shown = found.box.intersection_area(answer.crop_boxes[found.region])
            assert 2 * shown >= found.box.area
        assert len(set(answer.crop_boxes)) == n
    assert several == 2


def test_one_place_is_shown_as_it_is_without_further_crops() -> None:
    """A second place that weighs less than is asked for changes nothing."""
    vlm = toy_llava()
    pairs = zip(asked(vlm, max_crops=1), asked(vlm, max_crops=3, further_share=1.0), strict=True)
    assert all(one.answer == other.answer for one, other in pairs)
