from __future__ import annotations

import json
from pathlib import Path

import pytest

from laser_tools.errors import ModelUnavailable
from laser_tools.grounding.confidence import Calibration
from laser_tools.vlm.load import load_vlm, model_hash
from tests.toys import toy_llava


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    vlm = toy_llava()
    vlm.model.save_pretrained(tmp_path / "toy")
    vlm.processor.save_pretrained(tmp_path / "toy")
    return tmp_path / "toy"


def calibration(model_hash: str) -> str:
    return Calibration(
        model_hash=model_hash, n=1, split="validation", features=(), routes={}
    ).model_dump_json()


def test_a_folder_is_loaded_with_its_name(folder: Path) -> None:
    vlm = load_vlm(folder, device="cpu")
    assert vlm.name == "toy"
    assert vlm.calibration is None
    assert vlm.processor.tokenizer.padding_side == "left"
    assert not vlm.model.training


def test_a_calibration_is_loaded_for_these_very_weights_only(folder: Path) -> None:
    beside = folder / "calibration.json"
    beside.write_text(calibration("0" * 64), encoding="utf-8")
    assert load_vlm(folder, device="cpu").calibration is None
    beside.write_text(calibration(model_hash(folder / "model.safetensors")), encoding="utf-8")
    assert load_vlm(folder, device="cpu").calibration is not None


def test_a_missing_model_is_one_clear_sentence_without_a_path(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="There is no model 'nothing'") as caught:
        load_vlm(tmp_path / "nothing")
    assert str(tmp_path) not in caught.value.public_text


def test_only_safetensors_are_loaded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match="no safetensors"):
        load_vlm(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_file_is_one_clear_sentence(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelUnavailable, match="damaged") as caught:
        load_vlm(folder, device="cpu")
    assert str(folder.parent) not in caught.value.public_text


def test_a_model_with_code_of_its_own_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoModel": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelUnavailable, match="refused"):
        load_vlm(folder)
