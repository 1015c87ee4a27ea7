from __future__ import annotations

from functools import cache

import pytest
from PIL import Image

from laser_tools.engine import LocalEngine
from laser_tools.images.upright import UprightImage
from laser_tools.options import LaserOptions
from laser_tools.pico import SCENE
from laser_tools.schema import AnswerRequest, GroundedAnswer, MethodName
from laser_tools.vlm.load import load_vlm
from laser_tools.vlm.model import VLM

THERE, ABSENT = "yellow square", "purple hexagon"
NUMBERS = ("511", "73")


@cache
def pico() -> VLM:
    return load_vlm("pico")


def asked(
    thing: str,
    margin: float | None,
    *choices: str,
    method: MethodName = "laser",
    question: str = "What number is on the {}?",
) -> GroundedAnswer:
    """What is said of a thing where one of `choices` has to be said."""
    with Image.open(SCENE) as opened:
        image = UprightImage.of(opened)
    request = AnswerRequest(
        image=image,
        question=question.format(thing),
        choices=choices or NUMBERS,
        method=method,
    )
    (answer,) = LocalEngine(pico(), LaserOptions(presence_margin=margin)).answer([request])
    return answer


def test_a_claim_about_what_is_not_there_is_withheld() -> None:
    claimed = asked(ABSENT, None)
    assert claimed.answer in NUMBERS
    assert claimed.abstain is None
    denied = asked(ABSENT, 0.0)
    assert (denied.answer, denied.abstain) == ("not there", "not_there")
    assert denied.passes > claimed.passes
    assert asked(ABSENT, 1e6).answer == claimed.answer  # "no" does not win by that much


@pytest.mark.parametrize("method", ["laser", "plain", "vicrop"])
def test_whatever_the_method_a_claim_about_what_is_there_stays(method: MethodName) -> None:
    assert asked(THERE, 0.0, method=method).answer in NUMBERS
    assert asked(ABSENT, 0.0, method=method).abstain == "not_there"


def test_yes_and_no_say_whether_and_what_abstains_by_itself_is_not_asked_about() -> None:
    for choices in (("yes", "no"), ("nothing", "none"), ("0", "zero")):
        kept, before = asked(ABSENT, 0.0, *choices), asked(ABSENT, None, *choices)
        assert kept.answer in choices
        assert kept.passes == before.passes


@pytest.mark.parametrize("question", ["What colour?", "How many?", "?", "What is the 😀?"])
def test_a_question_that_names_nothing_is_asked_about_nothing(question: str) -> None:
    """No model finds "a What colour?" in an image."""
    kept, before = (asked("", margin, "red", "2", question=question) for margin in (0.0, None))
    assert (kept.answer, kept.abstain) == (before.answer, None)
    assert kept.passes == before.passes
