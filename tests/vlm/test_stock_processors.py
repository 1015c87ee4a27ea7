"""The processors as transformers ships them, video half included; they need torchvision.

Elsewhere the same families are tried without that half (`image_only`). SmolVLM's needs num2words as
well.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from laser_tools.doctor.checks import examine
from laser_tools.vlm.families import FAMILIES
from laser_tools.vlm.load import load_vlm
from laser_tools.vlm.prompts import Prompt, encode
from tests.toy_families import TOY_FAMILIES
from tests.toys import picture

pytestmark = pytest.mark.skipif(find_spec("torchvision") is None, reason="needs torchvision")

STOCK: dict[str, dict[str, Any]] = {
    "llava_onevision": {
        "processor_class": "LlavaOnevisionProcessor", "num_image_tokens": 9,
        "vision_feature_select_strategy": "full", "vision_aspect_ratio": "anyres_max_2",
    },
    "qwen2_vl": {"processor_class": "Qwen2VLProcessor"},
    "qwen2_5_vl": {"processor_class": "Qwen2_5_VLProcessor"},
    "qwen3_vl": {"processor_class": "Qwen3VLProcessor"},
    "internvl": {"processor_class": "InternVLProcessor", "image_seq_length": 4},
    "smolvlm": {"processor_class": "SmolVLMProcessor", "image_seq_len": 4},
}  # fmt: skip
"""Family -> what the processor_config.json of a real folder says beside the image processor."""
VIDEO = {
    "llava_onevision": "LlavaOnevisionVideoProcessor",
    "qwen2_vl": "Qwen2VLVideoProcessor",
    "qwen2_5_vl": "Qwen2VLVideoProcessor",
    "qwen3_vl": "Qwen3VLVideoProcessor",
    "internvl": "InternVLVideoProcessor",
    "smolvlm": "SmolVLMVideoProcessor",
}


def stock_folder(family: str, folder: Path) -> Path:
    """The family's toy, saved with its stock processor."""
    vlm = TOY_FAMILIES[family]()
    vlm.model.save_pretrained(folder)
    vlm.processor.save_pretrained(folder)
    if family in STOCK:
        file = folder / "processor_config.json"
        config = json.loads(file.read_text(encoding="utf-8")) | STOCK[family]
        file.write_text(json.dumps(config), encoding="utf-8")
        video = json.dumps({"video_processor_type": VIDEO[family]})
        (folder / "video_preprocessor_config.json").write_text(video, encoding="utf-8")
    return folder


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_stock_processor_passes_the_doctor(family: str, tmp_path: Path) -> None:
    if family == "smolvlm" and find_spec("num2words") is None:
        pytest.skip("needs num2words")
    vlm = load_vlm(stock_folder(family, tmp_path), device="cpu")
    if family in STOCK:
        assert type(vlm.processor).__name__ == STOCK[family]["processor_class"]
    assert not type(vlm.processor.image_processor).__name__.endswith("Pil")
    assert [check for check in examine(vlm) if check.verdict == "fail"] == []


@pytest.mark.parametrize("family", sorted(set(STOCK) - {"smolvlm"}))
def test_a_stock_processor_writes_the_prompt_that_its_image_half_writes(
    family: str, tmp_path: Path
) -> None:
    prompts = [Prompt((picture(),), "where?"), Prompt((picture(400, 150), picture()), "what star?")]
    stock = encode(load_vlm(stock_folder(family, tmp_path), device="cpu"), prompts)
    half = encode(TOY_FAMILIES[family](), prompts)
    assert stock.inputs["input_ids"].tolist() == half.inputs["input_ids"].tolist()
