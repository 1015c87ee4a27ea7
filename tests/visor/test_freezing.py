"""Frozen visual layers equal their slow twin in every family, read whole, shared and cached."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from laser_tools import cli
from laser_tools.errors import InvalidRequest
from laser_tools.visor.freezing import freeze, frozen, frozen_layers
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.decode import Decoded, Limits, decode
from laser_tools.vlm.load import load_vlm
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import Prompt, encode
from laser_tools.vlm.reading import read
from laser_tools.worker.backends.local import load_engine
from laser_tools.worker.settings import worker_settings
from tests.oracle.naive_freezing import visual_put_back
from tests.toy_families import TOY_FAMILIES
from tests.toys import picture, toy_llava
from tests.visor.models import all_self

EVERY_FAMILY = pytest.mark.parametrize("family", sorted(TOY_FAMILIES))
PROMPTS = (
    Prompt((picture(),), "what colour is the star ?"),
    Prompt((picture(),), None),
    Prompt((picture(400, 200, 1),), "where is it ?"),
)


def fresh(vlm: VLM) -> VLM:
    """A copy with a model of its own, whose hooks are its own."""
    return replace(vlm, model=deepcopy(vlm.model))


def answered(vlm: VLM) -> tuple[list[Tensor], list[Decoded]]:
    """Attention to visual tokens, and greedy answers that go on from what was read."""
    found = read(ModelCall(vlm), PROMPTS, watch="last")
    return found.watched.rows, decode(vlm, found, [Limits(4)] * len(PROMPTS))


@EVERY_FAMILY
def test_a_frozen_layer_is_its_slow_twin(family: str) -> None:
    vlm = fresh(TOY_FAMILIES[family]())
    given = encode(vlm, PROMPTS[:1]).inputs
    with torch.no_grad():
        dense = vlm.model(**given).logits
        with visual_put_back(vlm.model, [0]):
            twin = vlm.model(**given).logits
        with frozen(vlm.model, [0]):
            ours = vlm.model(**given).logits
    text = given["input_ids"] != vlm.model.config.image_token_id
    torch.testing.assert_close(ours[text], twin[text], atol=1e-5, rtol=1e-4)
    assert (dense[:, -1] - twin[:, -1]).abs().max() > 1e-3  # freezing does something


@EVERY_FAMILY
def test_answers_and_attention_are_those_of_the_slow_twin(family: str) -> None:
    vlm = fresh(TOY_FAMILIES[family]())
    with visual_put_back(vlm.model, [0]):
        rows, said = answered(replace(vlm))
    our_rows, we_said = answered(replace(vlm, freeze_visual_layers=(0,)))
    for our_row, row in zip(our_rows, rows, strict=True):
        torch.testing.assert_close(our_row, row, atol=1e-5, rtol=1e-4)
    assert [answer.text for answer in we_said] == [answer.text for answer in said]


def test_a_frozen_layer_spares_visual_tokens_its_feed_forward_part() -> None:
    vlm = fresh(toy_llava())
    seen: list[int] = []

    def note(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0].shape[1])

    hook = vlm.model.get_decoder().layers[1].mlp.register_forward_pre_hook(note)
    given = encode(vlm, PROMPTS[:1]).inputs
    with torch.no_grad():
        vlm.model(**given)
        with frozen(vlm.model, [1]):
            vlm.model(**given)
    hook.remove()
    n_visual = int((given["input_ids"] == vlm.model.config.image_token_id).sum())
    assert seen == [given["input_ids"].shape[1], given["input_ids"].shape[1] - n_visual]


def test_what_was_frozen_thaws_and_leaves_nothing_behind() -> None:
    model = fresh(toy_llava()).model
    kinds = [type(layer) for layer in model.get_decoder().layers]
    with frozen(model, [1, 2]):
        assert frozen_layers(model) == (1, 2)
    with (
        pytest.raises(AttributeError),
        frozen(model, [1]),
    ):  # the hooks run also where forward raises
        model(input_ids=torch.tensor([[6]]), pixel_values=0)
    assert [type(layer) for layer in model.get_decoder().layers] == kinds
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_layers_that_cannot_be_frozen_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"no layer 9 to freeze: .* 0 to 3"):
        freeze(fresh(toy_llava()).model, [9])
    with pytest.raises(InvalidRequest, match="'visor' cannot be frozen"):
        freeze(all_self("llava"), [1])


def test_a_model_is_loaded_frozen() -> None:
    vlm = load_vlm("pico", freeze_visual_layers=(5, 6))
    assert frozen_layers(vlm.model) == (5, 6)
    assert vlm.calibration is None  # it was fitted to the model as it is
    assert frozen_layers(replace(vlm, prefix_cache_bytes=0).model) == (5, 6)


def test_the_command_line_and_a_worker_freeze_layers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture().pixels.save(tmp_path / "a.png")
    asked = ["ask", str(tmp_path / "a.png"), "how many stars?", "--freeze-visual-layers"]
    assert cli.run([*asked, "5,6"]) == 0
    assert "not calibrated" in capsys.readouterr().out  # as pico is where nothing is frozen
    for layers, sentence in (("5,9", "no layer 9 to freeze"), ("5;6", "Layers are whole numbers")):
        assert cli.run([*asked, layers]) == 2
        assert sentence in capsys.readouterr().err
    engine = load_engine(worker_settings(device="cpu", freeze_visual_layers="5, 6"))
    assert frozen_layers(engine.vlm.model) == (5, 6)
