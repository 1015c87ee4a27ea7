"""What the layer rule saves at other sizes: FLOPs of a real model's, seconds of a toy's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from operator import truediv

import torch
from transformers import LlamaConfig, LlamaModel, PreTrainedConfig, Qwen2Config

from laser_tools.evaluation.speed.geometries import GEOMETRIES
from laser_tools.evaluation.visor.flops import Size, dense_flops, flops
from laser_tools.evaluation.visor.report import PrefillReport
from laser_tools.visor.columns import Columns
from laser_tools.visor.config import VisorConfig
from laser_tools.visor.masks import Masks
from laser_tools.visor.walk import Stack, Stream, walk

# The text_config of llava-hf/llava-onevision-qwen2-0.5b-ov-hf on huggingface.co.
ONEVISION_TEXT = {
    "vocab_size": 152000, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2,
}  # fmt: skip
ONEVISION_VISUAL = (729, 3699, 7371)  # the overview alone; and 2 x 2, and 3 x 3 tiles beside it
QUESTION_TOKENS = 60
EVERY_THIRD = tuple(range(2, 24, 3))
TOY = "toy-llava"
TOY_CROSS, TOY_SELF = (1, 4, 6), (0,)

Rules = Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
"""By name, the layers with cross- and with self-attention."""

ONEVISION_RULES: Rules = {
    "8 cross": (EVERY_THIRD, ()),
    "8 cross, 1 self": (EVERY_THIRD, (0,)),
    "8 cross, 2 self": (EVERY_THIRD, (0, 12)),
    "8 cross, 8 self": (EVERY_THIRD, tuple(range(0, 24, 3))),
}
TOY_RULES: Rules = {
    "dense": ((), tuple(range(8))),
    "3 cross": (TOY_CROSS, ()),
    "3 cross, 1 self": (TOY_CROSS, TOY_SELF),
}


def onevision_ratios() -> dict[str, dict[str, float]]:
    """Times fewer FLOPs than dense by number of visual tokens and rule."""
    config = Qwen2Config(**ONEVISION_TEXT)
    return {str(n): _ratios(config, Size(n, QUESTION_TOKENS)) for n in ONEVISION_VISUAL}


def _ratios(config: PreTrainedConfig, size: Size) -> dict[str, float]:
    dense = dense_flops(config, size)
    return {
        name: dense / flops(config, size, cross, active)
        for name, (cross, active) in ONEVISION_RULES.items()
    }


def prefill(n_visual: int = 4096, n_text: int = 32, repeats: int = 5) -> PrefillReport:
    """Median seconds of a prefill at the toy's sizes, and how often dense takes them.

    The rules take turns, and each turn has its own ratio: what else a machine does comes and goes.
    """
    model = LlamaModel(LlamaConfig(**GEOMETRIES[TOY].text, attn_implementation="sdpa")).eval()
    spent: dict[str, list[float]] = {name: [] for name in TOY_RULES}
    for _ in range(repeats + 1):
        for name, (cross, active) in TOY_RULES.items():
            spent[name].append(_seconds(model, Size(n_visual, n_text), cross, active))
    counted = {name: each[1:] for name, each in spent.items()}  # the first turn warms up
    seconds = {name: statistics.median(each) for name, each in counted.items()}
    return PrefillReport(
        geometry=TOY,
        n_visual=n_visual,
        n_text=n_text,
        seconds=seconds,
        times_faster={
            name: statistics.median(map(truediv, counted["dense"], each))
            for name, each in counted.items()
        },
    )


def _seconds(
    model: LlamaModel, size: Size, cross: tuple[int, ...], active: tuple[int, ...]
) -> float:
    visual = torch.ones(1, size.n_visual + size.n_text, dtype=torch.bool)
    visual[:, -size.n_text :] = False
    full, columns = torch.randn(*visual.shape, model.config.hidden_size), Columns.of(visual)
    started = time.perf_counter()
    with torch.inference_mode():
        rope = model.rotary_emb(full, torch.arange(visual.shape[1])[None])
        masks = Masks(model.config, columns, None, None)
        stream = Stream(full, columns.text(full), columns, rope, masks, None)
        stack = Stack(model.layers, VisorConfig(cross_layers=cross))
        walk(stack, stream, range(len(model.layers)), active)
    return time.perf_counter() - started
