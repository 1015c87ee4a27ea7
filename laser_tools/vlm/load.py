"""A model on disk -> VLM: safetensors only, no remote code, no download (see snapshot.py)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
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
from laser_tools.vlm.snapshot import find_snapshot, read_snapshot
from laser_tools.vlm.threads import limit_threads_for

PICO_FOLDER = Path(__file__).parents[1] / "pico" / "weights"
PREFIX_CACHE_BYTES = 1 << 30  # three images of a 7B model in bfloat16, a thousand of pico's
WEIGHTS, CALIBRATION = "model.safetensors", "calibration.json"
OPTIONAL = {
    "torchvision": "torchvision", "num2words": "num2words", "sentencepiece": "sentencepiece",
    "accelerate": "accelerate", "bitsandbytes": "bitsandbytes", "torchao": "torchao",
    "optimum-quanto": "optimum", "compressed-tensors": "compressed_tensors",
    "gptqmodel": "gptqmodel",
}  # fmt: skip
"""Packages that some processors, device maps or quantisations need and we do not install, and the
module that each brings."""


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

    def synchronize(self) -> None:
        """Wait until a GPU has done what it was given; a CPU always has."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def load_vlm(
    model: str | Path = "pico",
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    device_map: str | dict[str, Any] | None = None,
    quantization_config: object | None = None,
    verify: bool = True,
) -> VLM:
    """The model in the folder `model`, or of that hub id in the local cache, or embedded "pico".

    `device` defaults to a GPU if there is one, `dtype` to float32 on a CPU and to the checkpoint's
    own elsewhere. `device_map` and `quantization_config` go to `from_pretrained` as they are; a
    device map decides instead of `device`. Without one, what is quantised for a GPU is placed
    there by accelerate. A model of a family that is not listed is examined first
    (laser_tools/doctor.py), unless `verify` is false. For a small model on a CPU torch's number of
    threads becomes one, in this process (laser_tools/vlm/threads.py).

    Raises ModelUnavailable if there is no such model, or none that can be loaded and trusted.
    """
    folder = PICO_FOLDER if str(model) == "pico" else find_snapshot(model, revision)
    name = "pico" if folder == PICO_FOLDER else Path(model).name
    _register_tower(read_snapshot(folder, name))
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    chosen = dtype or (torch.float32 if target.type == "cpu" else "auto")
    placement = _placement(target, device_map, quantization_config)
    processor = _load_processor(folder, name)
    loaded = _load_model(folder, name, chosen, placement)
    vlm = VLM(
        loaded if placement else loaded.to(target),
        processor,
        name=name,
        calibration=_load_calibration(folder),
    )
    limit_threads_for(vlm.model)
    if verify and not vlm.family.listed:
        _refuse_unfit(vlm)
    return vlm


def _placement(
    target: torch.device,
    device_map: str | dict[str, Any] | None,
    quantization_config: object | None,
) -> dict[str, Any]:
    """What is said to `from_pretrained` about it; with nothing said, the model is moved later."""
    if quantization_config is None:
        return {} if device_map is None else {"device_map": device_map}
    if device_map is None and target.type != "cpu":
        device_map = {"": str(target)}  # else some quantisers would leave the model on the CPU
    said = {"device_map": device_map, "quantization_config": quantization_config}
    return {key: value for key, value in said.items() if value is not None}


def model_hash(weights: Path) -> str:
    """The sha256 of a weights file, as hexadecimal text."""
    with weights.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _load_processor(folder: Path, name: str) -> ProcessorMixin:
    with _explained(name, "processor"):
        processor = AutoProcessor.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    for part in ("tokenizer", "image_processor"):
        if getattr(processor, part, None) is None:
            raise ModelUnavailable(f"The processor of the model '{name}' has no {part}.")
    return processor


def _load_model(
    folder: Path, name: str, dtype: torch.dtype | str, placement: dict[str, Any]
) -> PreTrainedModel:
    with _explained(name, "model"):
        model, info = AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            attn_implementation="sdpa",
            output_loading_info=True,
            **placement,
        )
    if info["missing_keys"]:
        raise ModelUnavailable(
            f"The weights of the model '{name}' lack {len(info['missing_keys'])} tensors, which "
            "would be random. Fetch the model again."
        )
    return model


@contextmanager
def _explained(name: str, part: str) -> Iterator[None]:
    """What transformers raises over a bad folder, as one sentence without a path."""
    try:
        yield
    except (
        OSError, ValueError, ImportError, AttributeError, KeyError, TypeError, RuntimeError,
        SafetensorError,
    ) as error:  # fmt: skip
        kind = type(error).__name__
        raise ModelUnavailable(
            f"The {part} of '{name}' cannot be loaded ({kind}): {_reason(str(error).lower())}."
        ) from error


def _reason(text: str) -> str:
    missing = [name for name, module in OPTIONAL.items() if name in text and not find_spec(module)]
    if missing:
        return f"it needs a package that is not installed; pip install {' '.join(missing)}"
    if re.search(r"gpu\b.*\b(needed|required)", text):
        return "its quantisation needs a GPU; choose another one, or another machine"
    if "scaled_dot_product" in text:
        return "its architecture has no sdpa attention, which LASER reads; choose another model"
    return "its files are damaged or incomplete; fetch the model again"


def _refuse_unfit(vlm: VLM) -> None:
    """Raise ModelUnavailable if the guesses about an unlisted family do not hold for `vlm`."""
    from laser_tools.doctor import examine  # it stands above this module

    failed = [check for check in examine(vlm) if check.verdict == "fail"]
    if failed:
        raise ModelUnavailable(
            f"Models of type '{vlm.model.config.model_type}' are not listed, and '{vlm.name}' does "
            f"not pass the check of {failed[0].name}: {failed[0].finding} "
            "'laser-tools doctor' says more."
        )


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
