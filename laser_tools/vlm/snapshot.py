"""A model's name -> its folder on this disk, refused unless it holds data only: no code, no pickle.

Nothing is downloaded: a hub id is looked up among the snapshots that are on the disk already.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from laser_tools.errors import ModelUnavailable

PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")  # loading one can run anything
CODE = (".py", ".so")
MAY_NAME_CODE = (
    "config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
)
PROCESSORS = ("processor_config.json", "preprocessor_config.json")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


def find_snapshot(model: str | Path, revision: str | None = None) -> Path:
    """The folder `model`, or the cached snapshot of the hub id `model` at `revision`.

    Raises ModelUnavailable if neither is on this disk.
    """
    folder = Path(model)
    if folder.is_dir():
        if revision is not None:
            raise ModelUnavailable(
                f"'{folder.name}' is a folder, which has no revisions: leave the revision out."
            )
        return folder
    try:
        return Path(snapshot_download(str(model), revision=revision, local_files_only=True))
    except (HFValidationError, OSError):
        at = "" if revision is None else f" --revision {revision}"
        raise ModelUnavailable(
            f"There is no model '{folder.name}' on this machine. Give the folder of a model; or, "
            f"for a model of the Hugging Face hub, run 'hf download OWNER/NAME{at}' first and give "
            "OWNER/NAME."
        ) from None


def read_snapshot(folder: Path, name: str) -> dict[str, Any]:
    """The folder's config.json, once the folder is known to be complete and harmless.

    Raises ModelUnavailable with one sentence that says what is wrong and what to do.
    """
    if not (folder / "config.json").is_file():
        raise ModelUnavailable(f"There is no model '{name}': its folder has no config.json.")
    _refuse_code(folder, name)
    config = _read_json(folder / "config.json", name)
    _refuse_other_kinds(config.get("model_type"), name)
    _refuse_incomplete(folder, name)
    return config


def _refuse_code(folder: Path, name: str) -> None:
    """Refuse what could run, though it would not be used: what lies there gets loaded one day."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for kinds, what in ((PICKLES, "pickle"), (CODE, "code")):
        found = [path.name for path in files if path.suffix.lower() in kinds]
        if found:
            raise ModelUnavailable(
                f"The model '{name}' is refused: its folder holds {what} ({found[0]}), which could "
                "run anything. Keep a copy of the folder without such files; the weights must be "
                "in safetensors."
            )
    for file in MAY_NAME_CODE:
        if (folder / file).is_file() and "auto_map" in _read_json(folder / file, name):
            raise ModelUnavailable(
                f"The model '{name}' is refused: it asks to run its own code ({file} has an "
                "auto_map). Use a version of the model for stock transformers, often called '-hf'."
            )


def _refuse_other_kinds(model_type: object, name: str) -> None:
    if model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return
    if model_type in CONFIG_MAPPING_NAMES:
        raise ModelUnavailable(
            f"The model '{name}' (type '{model_type}') does not answer questions about images. "
            "Give a vision-language model, such as a llava or a qwen2_5_vl."
        )
    raise ModelUnavailable(
        f"The model '{name}' has the type '{model_type}', which the installed transformers does "
        "not know. A newer transformers may."
    )


def _refuse_incomplete(folder: Path, name: str) -> None:
    for files, what in (
        (("*.safetensors",), "safetensors weights"),
        (PROCESSORS, "processor (processor_config.json)"),
        (TOKENIZERS, "tokenizer (tokenizer.json)"),
    ):
        if not any(any(folder.glob(pattern)) for pattern in files):
            raise ModelUnavailable(
                f"The model '{name}' has no {what}. Copy what is missing from where the model came."
            )


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ModelUnavailable(f"The {path.name} of the model '{name}' is damaged.")
    return found
