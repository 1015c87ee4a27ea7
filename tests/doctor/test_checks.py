"""The doctor passes what works, and finds what is broken."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import DynamicCache

from laser_tools.doctor import checks as doctor
from laser_tools.doctor.checks import CHECKS, Check, examine
from laser_tools.doctor.probes import Step
from laser_tools.schema import TokenMargin
from laser_tools.visor.model import VisorForConditionalGeneration
from laser_tools.vlm.decode import Decoded
from laser_tools.vlm.families import FAMILIES, UNLISTED, one_by_one
from laser_tools.vlm.layouts import ImageTokens, TokenLayout, one_grid
from laser_tools.vlm.load import load_vlm
from laser_tools.vlm.model import VLM
from laser_tools.vlm.reading.base import Read
from tests.toy_families import TOY_FAMILIES, toy_llava_next, toy_qwen2_vl
from tests.toys import toy_llava, toy_qwen


def verdicts(vlm: VLM) -> dict[str, str]:
    return {check.name: check.verdict for check in examine(vlm)}


def changed(vlm: VLM, **family: object) -> VLM:
    """The model with one fact about its family changed."""
    other = replace(vlm)
    object.__setattr__(other, "family", replace(vlm.family, **family))  # type: ignore[arg-type]
    return other


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_passes(family: str) -> None:
    checks = examine(TOY_FAMILIES[family]())
    assert [check.name for check in checks] == list(CHECKS)
    assert [check for check in checks if check.verdict == "fail"] == []
    skipped = [check.name for check in checks if check.verdict == "skip"]
    assert skipped == (["prefix"] if FAMILIES[family].unshareable else [])
    assert not any(check.advice for check in checks)


@pytest.mark.parametrize(("cross", "weights"), [([2], "dense"), ([2, 3], "added")])
def test_a_visor_model_passes(cross: list[int], weights: str) -> None:
    dense = toy_llava()
    model = VisorForConditionalGeneration.from_dense(
        deepcopy(dense.model), cross, [0], cross_attention=weights
    )
    for added in model.added:  # as if it had been trained
        nn.init.normal_(added.o_proj.weight, std=0.3)
    found = verdicts(VLM(model, dense.processor, "visor"))
    assert found == dict.fromkeys(CHECKS, "pass") | {"prefix": "skip"}


def transposed(image: ImageTokens) -> TokenLayout:
    right = one_grid(image)
    return TokenLayout(right.tokens.T, right.box)


@pytest.mark.parametrize(
    ("vlm", "name", "family"),
    [
        (toy_llava, "layout", {"layout": transposed}),
        (toy_llava_next, "layout", {"layout": one_grid}),
        (toy_qwen, "layout", {"layout": one_grid}),
    ],
)
def test_a_wrong_layout_is_found(
    vlm: Callable[[], VLM], name: str, family: dict[str, object]
) -> None:
    assert verdicts(changed(vlm(), **family))[name] == "fail"


@pytest.mark.parametrize("vlm", [toy_qwen, toy_qwen2_vl])
def test_positions_left_to_the_model_are_found(vlm: Callable[[], VLM]) -> None:
    """M-RoPE models continue from the last request they saw."""
    assert verdicts(changed(vlm(), positions=one_by_one))["prefix"] == "fail"


def test_a_prefix_that_cannot_be_shared_is_found() -> None:
    vlm = changed(TOY_FAMILIES["paligemma"](), unshareable="")
    assert verdicts(vlm)["prefix"] == "fail"


def test_decoding_that_leaves_the_prefilled_image_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Read, "past_key_values", lambda *_: DynamicCache())
    check = doctor.decoding(toy_llava())
    assert check.verdict == "fail"
    assert "from a prefilled image and from generate" in check.finding


def test_a_generation_config_without_a_cache_changes_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a cache `generate` reads the whole prompt again; our own loop does not."""
    vlm = toy_llava()
    monkeypatch.setattr(vlm.model.generation_config, "use_cache", False)
    assert doctor.decoding(vlm).verdict == "pass"


def said(*steps: tuple[str, float]) -> Callable[..., list[Step]]:
    return lambda *_: [Step(token, margin, largest=10.0) for token, margin in steps]


def decoded(monkeypatch: pytest.MonkeyPatch, *margins: float) -> None:
    tokens = [TokenMargin(token="a", probability=0.5, margin=m, vat_margin=None) for m in margins]
    monkeypatch.setattr(doctor, "decode", lambda *_: [Decoded("", tuple(tokens))])


@pytest.mark.parametrize(
    ("second", "verdict"),
    [(("a", 5.0), "pass"), (("a", 5.1), "fail"), (("b", 5.0), "fail")],
)
def test_margins_must_agree_as_well_as_tokens(
    second: tuple[str, float], verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded(monkeypatch, 5.0, 5.0)
    monkeypatch.setattr(doctor, "stock_greedy", said(("a", 5.0), second))
    assert doctor.decoding(toy_llava()).verdict == verdict


def test_answers_may_part_at_a_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded(monkeypatch, 5.0, 1e-6, 5.0)
    monkeypatch.setattr(doctor, "stock_greedy", said(("a", 5.0), ("b", 1e-6), ("c", 9.0)))
    assert doctor.decoding(toy_llava()).verdict == "pass"


def test_decoding_is_compared_past_the_end_of_an_answer() -> None:
    """The embedded model answers the doctor's question in one word, too short to compare."""
    (check,) = [check for check in examine(load_vlm()) if check.name == "decode"]
    assert check.verdict == "pass"
    assert check.finding.startswith("Margins of 8 tokens")


def test_an_unlisted_family_is_said_to_be_a_guess() -> None:
    found = examine(changed(toy_llava(), listed=UNLISTED.listed))
    assert (found[0].name, found[0].verdict) == ("family", "skip")
    assert {check.verdict for check in found[1:]} == {"pass"}


def test_too_little_memory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_memory_bytes", lambda device: 1000)
    (check,) = [check for check in examine(toy_llava()) if check.name == "memory"]
    assert check.verdict == "fail"
    assert "smaller images" in check.advice


def test_a_model_that_breaks_down_fails_and_is_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vlm = toy_llava()
    config = vlm.model.config.get_text_config()
    before = config._attn_implementation

    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("half-way")

    layer = vlm.model.get_decoder().layers[1]
    hooks = [len(module._forward_hooks) for module in vlm.model.modules()]
    with monkeypatch.context() as patch:
        patch.setattr(layer, "forward", break_down)
        found = {check.name: check for check in examine(vlm)}
    assert found["rows"].verdict == found["streams"].verdict == "fail"
    assert "half-way" in found["rows"].finding
    assert config._attn_implementation == before
    assert hooks == [len(module._forward_hooks) for module in vlm.model.modules()]
    assert verdicts(vlm)["rows"] == "pass"


def test_half_precision_has_its_own_tolerance() -> None:
    vlm = replace(toy_llava(), model=deepcopy(toy_llava().model).to(torch.bfloat16))
    found = {check.name: check for check in examine(vlm)}
    assert "allowed: 5e-02" in found["prefix"].finding
    assert found["rows"].verdict == found["logits"].verdict == found["prefix"].verdict == "pass"


def test_checks_are_plain_data() -> None:
    check = examine(toy_llava())[0]
    assert Check.model_validate_json(check.model_dump_json()) == check
