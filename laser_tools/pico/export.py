"""A training checkpoint -> a model folder that `from_pretrained` loads like any user's model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from laser_tools.pico.build import build_model, build_processor


def export(checkpoint: Path, out: Path, tokens: Sequence[str] | None = None) -> None:
    """Write config, weights (safetensors, float16: half the size) and processor.

    `tokens` are the vocabulary that the model was built with, unless it is pico's own.
    """
    model = build_model(tokens)
    saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
    model.load_state_dict(saved["parts"]["model"])
    model.half().save_pretrained(out)
    build_processor(tokens).save_pretrained(out)
