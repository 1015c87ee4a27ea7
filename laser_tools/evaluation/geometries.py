"""Model geometries as data: the sizes of public checkpoints, and of toys that fit a CPU.

Sizes are those of the checkpoints' own config.json, without their token ids, which belong to a
tokenizer (see random_models.py): llava-hf/llava-1.5-7b-hf, Qwen/Qwen2.5-VL-7B-Instruct and
Qwen/Qwen3-VL-8B-Instruct on huggingface.co. What is not said here is the config class's default,
as it is for the checkpoints. The toys have the same parts and the same image grids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["llava", "qwen2_5_vl", "qwen3_vl"]


@dataclass(frozen=True)
class Geometry:
    """`text` and `vision` are fields of the family's text and vision configs."""

    kind: Kind
    text: dict[str, Any]
    vision: dict[str, Any]


def _mrope(theta: float, *section: int) -> dict[str, Any]:
    """M-RoPE: `section` is how many frequencies go by time, height and width."""
    return {"rope_type": "default", "rope_theta": theta, "mrope_section": list(section)}


GEOMETRIES: dict[str, Geometry] = {
    "llava-1.5-7b": Geometry(  # Vicuna-7B and CLIP ViT-L/14 at 336 px: 24 x 24 visual tokens
        "llava",
        text={"vocab_size": 32064, "rms_norm_eps": 1e-5, "max_position_embeddings": 4096},
        vision={
            "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
            "num_attention_heads": 16, "image_size": 336, "patch_size": 14, "projection_dim": 768,
        },
    ),
    "qwen2.5-vl-7b": Geometry(  # a visual token is 28 x 28 px
        "qwen2_5_vl",
        text={
            "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
            "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
            "rms_norm_eps": 1e-6, "max_position_embeddings": 128000,
            "rope_parameters": _mrope(1e6, 16, 24, 24),
        },
        vision={"hidden_size": 1280, "out_hidden_size": 3584, "tokens_per_second": 2},
    ),
    "qwen3-vl-8b": Geometry(  # a visual token is 32 x 32 px
        "qwen3_vl",
        text={
            "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288,
            "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
            "head_dim": 128, "rms_norm_eps": 1e-6, "max_position_embeddings": 262144,
            "rope_parameters": _mrope(5e6, 24, 20, 20) | {"mrope_interleaved": True},
        },
        vision={"out_hidden_size": 4096, "deepstack_visual_indexes": [8, 16, 24]},
    ),
    "toy-llava": Geometry(
        "llava",
        text={
            "vocab_size": 1024, "hidden_size": 256, "intermediate_size": 688,
            "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 8,
            "max_position_embeddings": 4096,
        },
        vision={
            "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 4,
            "num_attention_heads": 4, "image_size": 336, "patch_size": 14, "projection_dim": 64,
        },
    ),
    "toy-qwen2.5-vl": Geometry(
        "qwen2_5_vl",
        text={
            "vocab_size": 1024, "hidden_size": 256, "intermediate_size": 688,
            "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4,
            "max_position_embeddings": 128000, "rope_parameters": _mrope(1e6, 4, 6, 6),
        },
        vision={
            "depth": 4, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4,
            "out_hidden_size": 256, "fullatt_block_indexes": [3],
        },
    ),
}  # fmt: skip
