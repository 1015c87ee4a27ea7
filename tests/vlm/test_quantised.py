"""Quantised models answer like others; each quantiser is tried where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import transformers

from laser_tools.doctor.checks import examine
from laser_tools.engine import LocalEngine
from laser_tools.errors import ModelUnavailable
from laser_tools.schema import AnswerRequest
from laser_tools.vlm import load
from laser_tools.vlm.load import load_vlm
from laser_tools.vlm.model import VLM
from laser_tools.vlm.weight_bytes import weight_bytes
from tests.toys import picture, toy_llava


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saved(toy_llava(), tmp_path / "toy")
    return tmp_path / "toy"


def saved(vlm: VLM, folder: Path) -> None:
    vlm.model.save_pretrained(folder)
    vlm.processor.save_pretrained(folder)


def torchao_int8() -> object:
    from torchao.quantization import Int8WeightOnlyConfig

    return transformers.TorchAoConfig(Int8WeightOnlyConfig())


def quanto_int8() -> object:
    return transformers.QuantoConfig(weights="int8")


def bitsandbytes_int8() -> object:
    return transformers.BitsAndBytesConfig(load_in_8bit=True)


QUANTISERS = {
    "torchao": (torchao_int8, ("torchao",)),
    "quanto": (quanto_int8, ("optimum", "accelerate")),
    "bitsandbytes": (bitsandbytes_int8, ("bitsandbytes", "accelerate")),
}
INSTALLED = [
    pytest.param(
        config,
        id=name,
        marks=pytest.mark.skipif(
            not all(map(find_spec, modules)), reason=f"{' or '.join(modules)} is not installed"
        ),
    )
    for name, (config, modules) in QUANTISERS.items()
]


@pytest.mark.parametrize("config", INSTALLED)
def test_a_quantised_model_passes_the_doctor_and_answers(
    folder: Path, config: Callable[[], object]
) -> None:
    vlm = load_vlm(folder, device="cpu", quantization_config=config())
    assert weight_bytes(vlm.model) < 0.8 * weight_bytes(toy_llava().model)
    assert [check for check in examine(vlm) if check.verdict != "pass"] == []
    request = AnswerRequest(image=picture(), question="where is the star?", max_new_tokens=2)
    (answer,) = LocalEngine(vlm).answer([request])
    assert answer.route == "verify"
    assert answer.evidence


@pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed")
def test_a_model_that_was_saved_quantised_loads_as_it_is(folder: Path, tmp_path: Path) -> None:
    vlm = load_vlm(folder, device="cpu", quantization_config=torchao_int8())
    saved(vlm, tmp_path / "int8")
    again = load_vlm(tmp_path / "int8", device="cpu")
    assert weight_bytes(again.model) == weight_bytes(vlm.model)
    assert {check.verdict for check in examine(again)} == {"pass"}


@pytest.mark.skipif(
    bool(find_spec("optimum") or find_spec("bitsandbytes")), reason="they are installed"
)
@pytest.mark.parametrize(
    ("config", "word"),
    [(quanto_int8, "optimum-quanto"), (bitsandbytes_int8, "bitsandbytes")],
)
def test_what_a_quantiser_lacks_is_one_clear_sentence(
    folder: Path, config: Callable[[], object], word: str
) -> None:
    with pytest.raises(ModelUnavailable, match="not installed; pip install") as caught:
        load_vlm(folder, device="cpu", quantization_config=config())
    assert word in caught.value.public_text


def test_a_quantisation_for_gpus_says_so(folder: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"needs a GPU|pip install"):
        load_vlm(folder, device="cpu", quantization_config=transformers.FineGrainedFP8Config())


@pytest.mark.parametrize(
    ("device", "device_map", "expected"),
    [("cpu", None, None), ("cuda:1", None, {"": "cuda:1"}), ("cpu", "auto", "auto")],
)
def test_a_quantised_model_goes_where_it_was_sent(
    device: str, device_map: str | None, expected: object
) -> None:
    placement = load._placement(torch.device(device), device_map, "config")
    assert placement.get("device_map") == expected
    assert load._placement(torch.device(device), None, None) == {}
