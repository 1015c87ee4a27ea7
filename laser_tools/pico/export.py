"""A training checkpoint -> a model folder that `from_pretrained` loads like any user's model."""

from __future__ import annotations

from pathlib import Path

import torch

from laser_tools.pico.build import build_model, build_processor


def export(checkpoint: Path, out: Path) -> None:
    """Write config, weights (safetensors, float16: half the size) and processor."""
    model = build_model()
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["parts"]["model"])
    model.half().save_pretrained(out)
    build_processor().save_pretrained(out)
