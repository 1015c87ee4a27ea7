"""A training checkpoint -> a model folder that `from_pretrained` loads like any user's model."""

from __future__ import annotations

from pathlib import Path

import torch

from training.pico.build import build_model, build_processor


def export(checkpoint: Path, out: Path) -> None:
    """Write config, weights (safetensors, float16: half the size) and processor."""
    model = build_model()
    saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
    model.load_state_dict(saved["parts"]["model"])
    model.half().save_pretrained(out)
    build_processor().save_pretrained(out)
