"""A model on disk -> VLM: safetensors only, no remote code, no download (see snapshot.py)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    PreTrainedModel,
)
from transformers.utils import logging

from laser_tools.errors import InvalidRequest, ModelUnavailable
from laser_tools.grounding.confidence import Calibration
from laser_tools.grounding.localiser import FittedLocaliser
from laser_tools.visor import config as visor
from laser_tools.visor import model as visor_model
from laser_tools.vlm import ending
from laser_tools.vlm.load_errors import explained
from laser_tools.vlm.model import VLM
from laser_tools.vlm.processors import complete, load_processor
from laser_tools.vlm.snapshot import find_snapshot, read_snapshot
from laser_tools.vlm.threads import limit_threads_for

_PACKAGE = Path(__file__).parents[1]
PICO_FOLDER = _PACKAGE / "pico" / "weights"
EMBEDDED = {"pico": PICO_FOLDER, "pico-visor": _PACKAGE / "visor" / "weights"}
"""Models that come with the package, and their folders."""
WEIGHTS = "model.safetensors"
CALIBRATION, LOCALISER = "calibration.json", "localiser.json"
PARAMETERS_PER_BYTE = 16  # no quantisation packs half as many


def load_vlm(
    model: str | Path = "pico",
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    device_map: str | dict[str, Any] | None = None,
    quantization_config: object | None = None,
    freeze_visual_layers: Sequence[int] = (),
) -> VLM:
    """The model in the folder `model`, or of that hub id in the local cache, or one of EMBEDDED.

    `device` defaults to a GPU if there is one, `dtype` to float32 on a CPU and to the checkpoint's
    own elsewhere. `device_map` and `quantization_config` go to `from_pretrained` as they are; a
    device map decides instead of `device`. Without one, what is quantised for a GPU is placed
    there by accelerate. A model of a listed family is asked one question first, so that a folder
    whose files do not fit each other is refused here; one of a family that is not listed is
    examined (laser_tools/doctor/checks.py). Neither is done where `verify` is false. For a small
    model on a CPU torch's number of threads becomes one, in this process (vlm/threads.py). In
    `freeze_visual_layers` visual tokens stay as they are, which saves time and costs accuracy
    ('laser-tools visor probe' says which layers and how much).

    Raises ModelUnavailable if there is no such model, or none that can be loaded and trusted;
    InvalidRequest if there is no such device, or no such layer.
    """
    target = _usable(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    folder = folder_of(model, revision)
    own = (name for name, embedded in EMBEDDED.items() if folder == embedded)
    name = next(own, Path(model).name)
    _register_own(read_snapshot(folder, name))
    _refuse_oversized(folder, name)
    chosen = dtype or (torch.float32 if target.type == "cpu" else "auto")
    placement = _placement(target, device_map, quantization_config)
    processor = load_processor(folder, name)
    loaded = _load_model(folder, name, chosen, placement)
    calibration, localiser = _load_fits(folder, name)
    with explained(f"The model '{name}' cannot be used"):
        complete(processor, loaded.config)
        placed = loaded if placement else loaded.to(target)
        vlm = VLM(placed, processor, name, calibration, localiser=localiser)
    if freeze_visual_layers:
        # a confidence that was fitted to the model as it is does not hold for it then
        vlm = replace(vlm, freeze_visual_layers=tuple(freeze_visual_layers), calibration=None)
    limit_threads_for(vlm.model)
    return vlm


def folder_of(model: str | Path, revision: str | None = None) -> Path:
    """The folder that `load_vlm` reads. Raises ModelUnavailable if there is none."""
    return EMBEDDED.get(str(model)) or find_snapshot(model, revision)


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
    """Arguments of `from_pretrained` that place the model; without any, it is moved later."""
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


def _register_own(config: dict[str, Any]) -> None:
    """Make what is ours known to the auto classes, for folders whose config names it."""
    if config.get("model_type") == visor.MODEL_TYPE:
        visor_model.register()
        dense = config.get("dense_config")
        config = dense if isinstance(dense, dict) else {}
    vision = config.get("vision_config")
    if isinstance(vision, dict) and vision.get("model_type") == "pico_tower":
        from laser_tools.pico import tower

        tower.register()


def _load_fits(folder: Path, name: str) -> tuple[Calibration | None, FittedLocaliser | None]:
    """What was fitted to these weights and lies beside them."""
    weights, files = folder / WEIGHTS, (folder / CALIBRATION, folder / LOCALISER)
    if not weights.is_file() or not any(file.is_file() for file in files):
        return None, None
    fitted_to = model_hash(weights)
    with explained(f"The {CALIBRATION} of '{name}' cannot be read"):
        calibration = Calibration.load(files[0], fitted_to)
    with explained(f"The {LOCALISER} of '{name}' cannot be read"):
        return calibration, FittedLocaliser.load(files[1], fitted_to)
