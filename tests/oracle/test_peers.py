"""Every peer equals its naive twin: map, box and answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from laser_tools.engine import LocalEngine
from laser_tools.images.upright import UprightImage
from laser_tools.methods import carve, vicrop
from laser_tools.options import LaserOptions, PromptOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer, MethodName
from laser_tools.vlm.load import load_vlm
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import Prompt, encode, token_layout, visual_positions
from tests.oracle import naive_peers as naive
from tests.toys import picture, toy_llava, toy_qwen

QUESTIONS = ("what colour is the star?", "where is it?")
N_TOKENS = 3


@dataclass(frozen=True)
class Case:
    """A model, and the values that the papers' rules give for it."""

    model: Callable[[], VLM]
    sizes: tuple[tuple[int, int], ...]
    layer: int  # 14/32 of the depth, 22/28 for Qwen2.5-VL
    layers: range  # 20-25, of 32
    window_px: int
    input_px: int | None


def pico() -> VLM:
    """The embedded model in float64, as in `test_laser`."""
    return load_vlm("pico", device="cpu", dtype=torch.float64)


CASES = (
    Case(toy_llava, ((120, 100), (200, 170)), 2, range(2, 4), 48, 48),
    Case(toy_qwen, ((900, 700), (640, 800)), 2, range(2, 3), 336, None),
    Case(pico, ((300, 260), (480, 400)), 4, range(5, 7), 96, 96),
)
MODELS = pytest.mark.parametrize("case", CASES, ids=lambda case: case.model.__name__)


def asked_of(vlm: VLM, image: UprightImage, question: str) -> naive.Asked:
    encoded = encode(vlm, [Prompt((image,), question)])
    layout = token_layout(vlm, encoded, 0, len(visual_positions(vlm, encoded)[0]))
    return naive.Asked(vlm, image.pixels, question, layout.tokens, layout.box)


def both(
    case: Case,
    method: MethodName,
    options: PromptOptions | None = None,
    *,
    before: str | None = None,
) -> list[tuple[naive.Asked, GroundedAnswer]]:
    """Questions, and the package's answers to them in one batch, after another about the images."""
    vlm = case.model()
    images = [picture(*size, seed=i) for i, size in enumerate(case.sizes)]
    pairs = list(zip(images, QUESTIONS, strict=True))
    requests = [
        AnswerRequest(image=image, question=question, method=method, max_new_tokens=N_TOKENS)
        for image, question in pairs
    ]
    engine = LocalEngine(vlm, options or PromptOptions())
    if before is not None:
        engine.answer([request.model_copy(update={"question": before}) for request in requests])
    answers = engine.answer(requests)
    return [(asked_of(vlm, *pair), told) for pair, told in zip(pairs, answers, strict=True)]


def check(asked: naive.Asked, told: GroundedAnswer, found: naive.Found) -> None:
    assert told.localisation is not None
    heat = torch.tensor(told.localisation.map, dtype=found.heat.dtype)
    torch.testing.assert_close(heat, found.heat, atol=1e-5, rtol=1e-5)
    assert (told.route, told.crop_boxes) == ("zoom", (found.crop,))
    assert told.answer == text(asked.vlm, found.tokens)


def text(vlm: VLM, tokens: list[int]) -> str:
    said: str = vlm.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
    return said


@MODELS
@pytest.mark.parametrize("options", [vicrop.PAPER, vicrop.PAPER_GRADIENT])
def test_vicrop_equals_the_naive_one(case: Case, options: vicrop.VicropOptions) -> None:
    gradient = options.attention == "gradient"
    for asked, told in both(case, "vicrop", options):
        found = naive.vicrop(asked, case.layer, case.window_px, N_TOKENS, gradient=gradient)
        check(asked, told, found)
        assert found.crop.area < asked.image.width * asked.image.height
        assert told.localisation is not None
        assert told.localisation.layer_idx == case.layer


@MODELS
@pytest.mark.parametrize("options", [carve.RELEASED, carve.PAPER])
def test_carve_equals_the_naive_one(case: Case, options: carve.CarveOptions) -> None:
    share, alone = (0.4, True) if options == carve.PAPER else (0.2, False)
    for asked, told in both(case, "carve", options):
        check(asked, told, naive.carve(asked, case.layers, share, 2, N_TOKENS, alone=alone))


@MODELS
def test_carve_equals_the_naive_one_about_images_that_it_knows(case: Case) -> None:
    """What the general prompt attends to is not computed again."""
    for asked, told in both(case, "carve", carve.PAPER, before="is it red?"):
        check(asked, told, naive.carve(asked, case.layers, 0.4, 2, N_TOKENS, alone=True))


@MODELS
def test_vcd_equals_the_naive_one(case: Case) -> None:
    for asked, told in both(case, "vcd"):
        tokens, margins = naive.vcd(asked, case.input_px, N_TOKENS)
        assert told.answer == text(asked.vlm, tokens)
        found = [token.margin for token in told.margins[: len(tokens)]]
        assert found == pytest.approx(margins, abs=1e-3)
        assert (told.route, told.localisation, told.confidence) == ("plain", None, None)
        assert told.margins[0].vat_margin is not None


@MODELS
def test_raw_attention_and_the_maximum_look_where_the_naive_ones_do(case: Case) -> None:
    options = LaserOptions(k_head=3, layer="vaq")
    for asked, told in both(case, "raw-attention", options):
        assert told.localisation is not None
        layer, heat = naive.raw_attention(asked, 3)
        assert told.localisation.layer_idx == layer
        close(told, heat)
    for asked, told in both(case, "max-over-layers", options):
        close(told, naive.max_over_layers(asked, 3))


def close(told: GroundedAnswer, heat: torch.Tensor) -> None:
    assert told.localisation is not None
    seen = torch.tensor(told.localisation.map, dtype=heat.dtype)
    torch.testing.assert_close(seen, heat, atol=1e-5, rtol=1e-5)
