"""A model on disk -> VLM: safetensors only, no remote code, no download (see snapshot.py)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.utils import logging

from laser_tools.errors import InvalidRequest, ModelUnavailable
from laser_tools.grounding.confidence import Calibration
from laser_tools.vlm import ending
from laser_tools.vlm.control_tokens import control_tokens
from laser_tools.vlm.families import Family, family_of
from laser_tools.vlm.load_errors import explained
from laser_tools.vlm.padding import uncropped
from laser_tools.vlm.prefix_cache import PrefixCache
from laser_tools.vlm.processors import complete, load_processor
from laser_tools.vlm.snapshot import find_snapshot, read_snapshot
from laser_tools.vlm.threads import limit_threads_for

PICO_FOLDER = Path(__file__).parents[1] / "pico" / "weights"
PREFIX_CACHE_BYTES = 1 << 30  # three images of a 7B model in bfloat16, a thousand of pico's
WEIGHTS, CALIBRATION = "model.safetensors", "calibration.json"
PARAMETERS_PER_BYTE = 16  # no quantisation packs half as many


@dataclass(frozen=True)
class VLM:
    """A vision-language model with what LASER needs to know about it.

    The processor pads left. Of the model's generation config only the special tokens are left:
    decoding is greedy, and a checkpoint's sampling settings, penalties and cache settings are not
    applied. `control_tokens` never get into a prompt from a caller's text. `calibration` is None
    where none was fitted for these weights. Hold `lock` while using the model: some keep the
    positions of the last request on themselves, and `prefixes`, the images prefilled for earlier
    requests, are not locked. They take at most `prefix_cache_bytes` on the model's device; with 0
    nothing is kept between calls.
    """

    model: PreTrainedModel  # a ...ForConditionalGeneration
    processor: ProcessorMixin
    name: str
    calibration: Calibration | None = None
    prefix_cache_bytes: int = PREFIX_CACHE_BYTES
    family: Family = field(init=False)
    lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)
    prefixes: PrefixCache = field(init=False, repr=False, compare=False)
    control_tokens: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "family", family_of(self.model.config.model_type))
        object.__setattr__(self, "prefixes", PrefixCache(self.prefix_cache_bytes))
        object.__setattr__(self, "control_tokens", control_tokens(self.processor))
        self.processor.tokenizer.padding_side = "left"
        if self.family.uncropped:
            self.processor.image_processor = uncropped(self.processor.image_processor)
        self.model.generation_config = ending.bare(self.model, self.processor.tokenizer)
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
    there by accelerate. A model of a listed family is asked one question first, so that a folder
    whose files do not fit each other is refused here; one of a family that is not listed is
    examined (laser_tools/doctor/checks.py). Neither is done where `verify` is false. For a small
    model on a CPU torch's number of threads becomes one, in this process (vlm/threads.py).

    Raises ModelUnavailable if there is no such model, or none that can be loaded and trusted;
    InvalidRequest if there is no such device.
    """
    target = _usable(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    folder = PICO_FOLDER if str(model) == "pico" else find_snapshot(model, revision)
    name = "pico" if folder == PICO_FOLDER else Path(model).name
    _register_tower(read_snapshot(folder, name))
    _refuse_oversized(folder, name)
    chosen = dtype or (torch.float32 if target.type == "cpu" else "auto")
    placement = _placement(target, device_map, quantization_config)
    processor = load_processor(folder, name)
    loaded = _load_model(folder, name, chosen, placement)
    calibration = _load_calibration(folder, name)
    with explained(f"The model '{name}' cannot be used"):
        complete(processor, loaded.config)
        vlm = VLM(loaded if placement else loaded.to(target), processor, name, calibration)
    limit_threads_for(vlm.model)
    if verify:
        _refuse_unfit(vlm)
    return vlm


def _usable(device: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError):  # no such name; torch was built without that backend
        raise InvalidRequest(
            f"This machine has no device '{device}' that torch can use. Leave the device out, or "
            "give 'cpu'."
        ) from None


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


def _load_model(
    folder: Path, name: str, dtype: torch.dtype | str, placement: dict[str, Any]
) -> PreTrainedModel:
    with explained(f"The model of '{name}' cannot be loaded"), _without_bars():
        model, info = AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            attn_implementation="sdpa",
            output_loading_info=True,
            generation_config=ending.saved(folder),
            **placement,
        )
    if info["missing_keys"]:
        raise ModelUnavailable(
            f"The weights of the model '{name}' lack {len(info['missing_keys'])} tensors, which "
            "would be random. Fetch the model again."
        )
    return model


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep transformers' progress bars off stderr, which belongs to the caller."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _refuse_oversized(folder: Path, name: str) -> None:
    """Refuse a config that lost its sizes: the rest of a default model would be made up first."""
    with explained(f"The model of '{name}' cannot be loaded"), torch.device("meta"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        described = AutoModelForImageTextToText.from_config(config).num_parameters()
    held = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if described > PARAMETERS_PER_BYTE * held:
        raise ModelUnavailable(
            f"The config.json of '{name}' describes a model of {described:,} parameters, and its "
            f"weights are {held:,} bytes: it lost its sizes, or they are not all there. Fetch the "
            "model again."
        )


def _refuse_unfit(vlm: VLM) -> None:
    """Raise ModelUnavailable if a listed `vlm` cannot be asked, or what is guessed about an
    unlisted one does not hold."""
    from laser_tools.doctor.checks import examine  # these stand above this module
    from laser_tools.vlm.trial import try_out

    if vlm.family.listed:
        with explained(f"The model '{vlm.name}' cannot be asked about an image"):
            try_out(vlm)
        return
    failed = [check for check in examine(vlm) if check.verdict == "fail"]
    if failed:
        raise ModelUnavailable(
            f"Models of type '{vlm.model.config.model_type}' are not listed, and '{vlm.name}' does "
            f"not pass the check of {failed[0].name}: {failed[0].finding} "
            "'laser-tools doctor' says more."
        )


def _register_tower(config: dict[str, Any]) -> None:
    """Make our own vision tower known to AutoModel, for folders whose config names it."""
    vision = config.get("vision_config")
    if isinstance(vision, dict) and vision.get("model_type") == "pico_tower":
        from laser_tools.pico import tower

        tower.register()


def _load_calibration(folder: Path, name: str) -> Calibration | None:
    beside, weights = folder / CALIBRATION, folder / WEIGHTS
    if not (beside.is_file() and weights.is_file()):
        return None
    with explained(f"The {CALIBRATION} of '{name}' cannot be read"):
        return Calibration.load(beside, model_hash(weights))
