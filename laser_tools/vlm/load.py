"""A model on disk -> VLM: safetensors only, no remote code, no download."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedModel,
    ProcessorMixin,
)

from laser_tools.errors import ModelUnavailable
from laser_tools.grounding.confidence import Calibration
from laser_tools.vlm.families import Family, family_of
from laser_tools.vlm.prefix_cache import PrefixCache

PICO_FOLDER = Path(__file__).parents[1] / "pico" / "weights"
PREFIX_CACHE_BYTES = 1 << 30  # three images of a 7B model in bfloat16, a thousand of pico's
WEIGHTS, CALIBRATION = "model.safetensors", "calibration.json"


@dataclass(frozen=True)
class VLM:
    """A vision-language model with what LASER needs to know about it.

    The processor pads left. `calibration` is None where none was fitted for these weights. Hold
    `lock` while using the model: some keep the positions of the last request on themselves, and
    `prefixes`, the images prefilled for earlier requests, are not locked. They take at most
    `prefix_cache_bytes` on the model's device; with 0 nothing is kept between calls.
    """

    model: PreTrainedModel  # a ...ForConditionalGeneration
    processor: ProcessorMixin
    name: str
    calibration: Calibration | None = None
    prefix_cache_bytes: int = PREFIX_CACHE_BYTES
    family: Family = field(init=False)
    lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)
    prefixes: PrefixCache = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "family", family_of(self.model.config.model_type))
        object.__setattr__(self, "prefixes", PrefixCache(self.prefix_cache_bytes))
        self.processor.tokenizer.padding_side = "left"
        self.model.eval()

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device


def load_vlm(
    model: str | Path = "pico",
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> VLM:
    """The model in the folder `model`, or the embedded "pico", on `device` (default: a GPU if any).

    `dtype` defaults to float32 on a CPU and to the checkpoint's own elsewhere.
    Raises ModelUnavailable if the folder holds no model that we can load.
    """
    folder = PICO_FOLDER if str(model) == "pico" else Path(model)
    config = _read_config(folder, Path(model).name)
    _register_tower(config)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    chosen = dtype or (torch.float32 if target.type == "cpu" else "auto")
    name = "pico" if folder == PICO_FOLDER else folder.name
    try:
        loaded, processor = _load_parts(folder, chosen)
    except (OSError, ValueError, ImportError, AttributeError, KeyError, SafetensorError) as error:
        raise ModelUnavailable(
            f"The model '{name}' cannot be loaded: its files are damaged or incomplete, or need a "
            "package that is not installed (the processors of Qwen models need torchvision)."
        ) from error
    return VLM(loaded.to(target), processor, name=name, calibration=_load_calibration(folder))


def model_hash(weights: Path) -> str:
    """The sha256 of a weights file, as hexadecimal text."""
    with weights.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    """The folder's config. Raises ModelUnavailable with one sentence that says what is missing."""
    config = folder / "config.json"
    if not config.is_file():
        raise ModelUnavailable(f"There is no model '{name}': its folder has no config.json.")
    if not any(folder.glob("*.safetensors")):
        raise ModelUnavailable(f"The model '{name}' has no safetensors weights.")
    try:
        found: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelUnavailable(f"The config.json of the model '{name}' is damaged.") from error
    if "auto_map" in found:
        raise ModelUnavailable(f"The model '{name}' asks to run its own code, which is refused.")
    return found


def _load_parts(folder: Path, dtype: torch.dtype | str) -> tuple[PreTrainedModel, ProcessorMixin]:
    model = AutoModelForImageTextToText.from_pretrained(
        folder,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        attn_implementation="sdpa",
    )
    processor = AutoProcessor.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    return model, processor


def _register_tower(config: dict[str, Any]) -> None:
    """Make our own vision tower known to AutoModel, for folders whose config names it."""
    if config.get("vision_config", {}).get("model_type") == "pico_tower":
        from laser_tools.pico import tower

        tower.register()


def _load_calibration(folder: Path) -> Calibration | None:
    beside, weights = folder / CALIBRATION, folder / WEIGHTS
    if not (beside.is_file() and weights.is_file()):
        return None
    return Calibration.load(beside, model_hash(weights))
