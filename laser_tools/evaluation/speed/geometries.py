"""Model geometries: the sizes of public checkpoints, whole or less deep, and of toys for a CPU.

Sizes are those of the checkpoints' own config.json, without their token ids, which belong to a
tokenizer (see random_models.py): llava-hf/llava-1.5-7b-hf, Qwen/Qwen2.5-VL-7B-Instruct and
Qwen/Qwen3-VL-8B-Instruct on huggingface.co. What is not said here is the config class's default,
as it is for the checkpoints. The toys have the same parts and the same image grids.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from laser_tools.errors import InvalidRequest

Kind = Literal["llava", "qwen2_5_vl", "qwen3_vl"]


@dataclass(frozen=True)
class Geometry:
    """`text` and `vision` are fields of the family's text and vision configs."""

    kind: Kind
    text: dict[str, Any]
    vision: dict[str, Any]

    @property
    def layers(self) -> int:
        n: int = self.text["num_hidden_layers"]
        return n

    @property
    def vision_layers(self) -> int:
        n: int = self.vision[_depth_field(self.vision)]
        return n


def _mrope(theta: float, *section: int) -> dict[str, Any]:
    """M-RoPE: `section` is how many frequencies go by time, height and width."""
    return {"rope_type": "default", "rope_theta": theta, "mrope_section": list(section)}


PLACES = ("fullatt_block_indexes", "deepstack_visual_indexes")
"""Fields that name vision layers: those with full attention, those whose output is used."""

GEOMETRIES: dict[str, Geometry] = {
    "llava-1.5-7b": Geometry(  # Vicuna-7B and CLIP ViT-L/14 at 336 px: 24 x 24 visual tokens
        "llava",
        text={
            "vocab_size": 32064, "num_hidden_layers": 32, "rms_norm_eps": 1e-5,
            "max_position_embeddings": 4096,
        },
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
        vision={
            "depth": 32, "hidden_size": 1280, "out_hidden_size": 3584, "tokens_per_second": 2,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
    ),
    "qwen3-vl-8b": Geometry(  # a visual token is 32 x 32 px
        "qwen3_vl",
        text={
            "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288,
            "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
            "head_dim": 128, "rms_norm_eps": 1e-6, "max_position_embeddings": 262144,
            "rope_parameters": _mrope(5e6, 24, 20, 20) | {"mrope_interleaved": True},
        },
        vision={"depth": 27, "out_hidden_size": 4096, "deepstack_visual_indexes": [8, 16, 24]},
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


def geometry(name: str) -> Geometry:
    """The geometry of that name. Raises InvalidRequest if there is none."""
    if name not in GEOMETRIES:
        raise InvalidRequest(f"There is no geometry '{name}', only {', '.join(GEOMETRIES)}.")
    return GEOMETRIES[name]


def shallower(whole: Geometry, layers: int) -> Geometry:
    """The same widths with `layers` language layers and as large a share of the vision layers.

    So encoding, prefill and decode cost about the same share of a question as in the whole model;
    embeddings and language head stay whole, and weigh more. Raises InvalidRequest for too many.
    """
    if layers > whole.layers:
        raise InvalidRequest(f"That geometry has {whole.layers} language layers, not {layers}.")
    share = layers / whole.layers
    depth = max(1, round(share * whole.vision_layers))
    placed = {
        field: _spread(max(1, round(share * len(places))), depth)
        for field, places in whole.vision.items()
        if field in PLACES
    }
    return replace(
        whole,
        text={**whole.text, "num_hidden_layers": layers},
        vision={**whole.vision, **placed, _depth_field(whole.vision): depth},
    )


def _spread(n: int, depth: int) -> list[int]:
    """`n` layers of `depth` at even distances; the last is one of them."""
    return [depth * (i + 1) // n - 1 for i in range(n)]


def _depth_field(vision: dict[str, Any]) -> str:
    return "depth" if "depth" in vision else "num_hidden_layers"
