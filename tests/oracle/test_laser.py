"""The fast path equals the naive one to 1e-4."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from laser_tools.engine import LocalEngine
from laser_tools.methods.localise import localise
from laser_tools.options import PAPER, BoxRule, View
from laser_tools.schema import AnswerRequest
from laser_tools.vlm.load import load_vlm
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import Prompt, encode, token_layout, visual_positions
from tests.oracle import naive_laser as naive
from tests.toy_families import TOY_FAMILIES
from tests.toys import picture, toy_llava, toy_qwen

QUESTIONS = ("what colour is the star?", "where is it?", "how many red circle are there in image?")
SIZES = ((300, 260), (400, 300), (640, 500))
N_TOKENS = 4
NEW_FAMILIES = sorted(set(TOY_FAMILIES) - {"llava", "qwen2_5_vl"})  # those have every view below


def pico() -> VLM:
    """The embedded model in float64: its trained logits are large, and in float32 the rounding of
    a batched pass alone moves a fused margin by more than 1e-4."""
    return load_vlm("pico", device="cpu", dtype=torch.float64)


@pytest.mark.parametrize("family", NEW_FAMILIES)
def test_every_family_equals_the_naive_one(family: str) -> None:
    check(TOY_FAMILIES[family], "image+crop", "component")


@pytest.mark.parametrize("box_rule", ["bounding", "component"])
@pytest.mark.parametrize("view", ["crop", "image+crop"])
@pytest.mark.parametrize("model", [toy_llava, toy_qwen, pico])
def test_the_batched_fast_path_equals_the_naive_one(
    model: Callable[[], VLM], view: View, box_rule: BoxRule
) -> None:
    check(model, view, box_rule)


def check(model: Callable[[], VLM], view: View, box_rule: BoxRule) -> None:
    options = PAPER.model_copy(update={"view": view, "box_rule": box_rule, "k_patch": 0.05})
    vlm = model()
    images = [picture(*size, seed=i) for i, size in enumerate(SIZES)]
    maps = localise(vlm, images, QUESTIONS, options)
    requests = [
        AnswerRequest(image=image, question=question, max_new_tokens=N_TOKENS)
        for image, question in zip(images, QUESTIONS, strict=True)
    ]
    answers = LocalEngine(vlm, options).answer(requests)
    for image, question, seen, answer in zip(images, QUESTIONS, maps, answers, strict=True):
        encoded = encode(vlm, [Prompt((image,), question)])
        n_visual = len(visual_positions(vlm, encoded)[0])
        cells = token_layout(vlm, encoded, 0, n_visual).tokens  # tests/vlm/test_families.py
        slow = naive.laser(vlm, image.pixels, question, cells, seen.map_box, options, N_TOKENS)
        torch.testing.assert_close(
            seen.query.flatten(2), slow.seen.query, atol=1e-4, rtol=0, check_dtype=False
        )
        torch.testing.assert_close(
            seen.no_query.flatten(2), slow.seen.no_query, atol=1e-4, rtol=0, check_dtype=False
        )
        torch.testing.assert_close(seen.vaq, slow.seen.vaq, atol=1e-4, rtol=0, check_dtype=False)
        torch.testing.assert_close(seen.map, slow.seen.heat, atol=1e-4, rtol=0, check_dtype=False)
        assert seen.layer_idx == slow.seen.layer_idx
        assert answer.crop_boxes == (slow.seen.crop,)
        text = vlm.processor.tokenizer.decode(slow.tokens, skip_special_tokens=True).strip()
        assert answer.answer == text
        n = len(slow.tokens)
        assert n > 0 or model is pico
        assert [m.margin for m in answer.margins[:n]] == pytest.approx(slow.margins, abs=1e-4)
        vat_margins = [m.vat_margin for m in answer.margins[:n]]
        assert vat_margins == pytest.approx(slow.vat_margins, abs=1e-4)
