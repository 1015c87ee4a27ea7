"""Properties that all peers share; that each equals its paper is in tests/oracle/test_peers.py."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from laser_tools.engine import LocalEngine
from laser_tools.errors import InvalidRequest
from laser_tools.grounding.regions import Region
from laser_tools.images.upright import UprightImage
from laser_tools.methods import METHODS, carve, vcd, vicrop
from laser_tools.options import LaserOptions, PromptOptions
from laser_tools.schema import AnswerRequest, Box, MethodName
from laser_tools.vlm.load import load_vlm
from tests.toy_families import TOY_FAMILIES
from tests.toys import picture, toy_llava

PEERS = sorted(set(get_args(MethodName)) - {"plain", "laser"})


def request(method: MethodName, **fields: object) -> AnswerRequest:
    asked = {"image": picture(), "question": "is it red?", "max_new_tokens": 2, **fields}
    return AnswerRequest.model_validate({**asked, "method": method})


def test_every_name_has_its_method() -> None:
    assert set(METHODS) == set(get_args(MethodName))


@pytest.mark.parametrize("family", ["paligemma", "smolvlm", "qwen3_vl"])
def test_every_method_answers_by_its_name(family: str) -> None:
    """Families: one that reads whole prompts, one with tiles, one of any shape; in one call."""
    answers = LocalEngine(TOY_FAMILIES[family]()).answer([request(name) for name in METHODS])
    assert [answer.method for answer in answers] == list(METHODS)


@pytest.mark.parametrize("options", [vicrop.PAPER_GRADIENT, carve.PAPER])
def test_the_engines_options_are_those_of_the_method_they_are_made_for(
    options: PromptOptions,
) -> None:
    name = next(name for name in PEERS if METHODS[name].options is type(options))
    (own,) = LocalEngine(toy_llava(), options).answer([request(name)])
    (default,) = LocalEngine(toy_llava()).answer([request(name)])
    assert own.crop_boxes != default.crop_boxes


def test_the_answer_instruction_goes_with_every_method() -> None:
    asked = request("vicrop")
    wordy = LaserOptions(answer_instruction="answer one word")
    (told,) = LocalEngine(toy_llava(), wordy).answer([asked])
    own = vicrop.VicropOptions(answer_instruction="answer one word")
    (same,) = LocalEngine(toy_llava(), own).answer([asked])
    assert told.localisation is not None
    assert same.localisation is not None
    assert (told.answer, told.crop_boxes) == (same.answer, same.crop_boxes)
    assert np.array(told.localisation.map) == pytest.approx(
        np.array(same.localisation.map), abs=1e-5
    )


def test_a_calibration_says_nothing_of_a_method_it_was_not_fitted_to() -> None:
    engine = LocalEngine(load_vlm("pico"))
    answers = engine.answer([request(name, abstain_below=1.0) for name in ["laser", *PEERS]])
    assert answers[0].confidence is not None
    assert {answer.confidence for answer in answers[1:]} == {None}
    assert not any(answer.abstain == "not_sure" for answer in answers[1:])


@pytest.mark.parametrize("name", ["vicrop", "carve"])
def test_a_box_is_where_to_look(name: MethodName) -> None:
    box = Box(x0=20, y0=20, x1=60, y1=60)
    (told,) = LocalEngine(toy_llava()).answer([request(name, box=box)])
    assert (told.route, told.localisation, told.evidence[0].box) == ("zoom", None, box)
    assert told.crop_boxes == (Box(x0=0, y0=0, x1=224, y1=224),)


@pytest.mark.parametrize("attention", ["relative", "gradient"])
@pytest.mark.parametrize("family", ["llava", "paligemma"])
def test_a_clear_plain_answer_is_kept_where_the_gate_is_open(family: str, attention: str) -> None:
    gated = vicrop.VicropOptions.model_validate({"attention": attention, "direct_margin": -1.0})
    engine = LocalEngine(TOY_FAMILIES[family](), gated)
    told, plain = engine.answer([request("vicrop"), request("plain")])
    assert (told.route, told.answer) == ("direct", plain.answer)


@pytest.mark.parametrize(
    "options",
    [
        vicrop.VicropOptions(layer=4),
        vicrop.VicropOptions(layer=-5, attention="gradient"),
        carve.CarveOptions(layers=(2, 4)),
        carve.CarveOptions(layers=(3, 2)),
    ],
)
def test_layers_that_the_model_has_not_are_refused(options: PromptOptions) -> None:
    name = next(name for name in PEERS if METHODS[name].options is type(options))
    with pytest.raises(InvalidRequest, match="layer"):
        LocalEngine(toy_llava(), options).answer([request(name)])


def test_gradients_leave_the_weights_as_they_were() -> None:
    vlm = toy_llava()
    before = [weight.requires_grad for weight in vlm.model.parameters()]
    LocalEngine(vlm, vicrop.PAPER_GRADIENT).answer([request("vicrop")])
    assert [weight.requires_grad for weight in vlm.model.parameters()] == before
    assert all(weight.grad is None for weight in vlm.model.parameters())


def test_the_refined_image_shows_what_was_kept_and_is_enlarged() -> None:
    image = UprightImage.of(Image.new("RGB", (200, 100), (200, 100, 50)))
    kept = torch.ones(20, 40, dtype=torch.bool)
    kept[:, 20:] = False
    region = Region((), Box(x0=10, y0=10, x1=50, y1=30), kept=kept)
    whole, refined = carve.refined_view(image, region, carve.RELEASED)
    assert whole is image
    assert refined.size == (200, 100)
    assert (refined.pixels.getpixel((20, 50)), refined.pixels.getpixel((180, 50))) == (
        (200, 100, 50),
        (0, 0, 0),
    )
    (alone,) = carve.refined_view(image, region, carve.PAPER)
    assert alone == refined


def test_noise_grows_with_its_step_and_is_the_same_each_time() -> None:
    vlm, image = toy_llava(), Image.new("RGB", (48, 48), (128, 128, 128))
    steps = [vcd.VcdOptions(noise_step=step) for step in (0, 250, 500, 999)]
    first, second = ([vcd.noised_image(vlm, image, step) for step in steps] for _ in range(2))
    assert [a.tobytes() for a in first] == [b.tobytes() for b in second]
    spreads = [float(torch.frombuffer(bytearray(a.tobytes()), dtype=torch.uint8).float().std())
               for a in first]  # fmt: skip
    assert spreads == sorted(spreads)
    assert spreads[0] < 3 < 30 < spreads[2]
