"""What differs between model families, as data: how visual tokens lie on the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor
from transformers import BaseImageProcessor, PreTrainedModel, ProcessorMixin

from laser_tools.errors import ModelUnavailable
from laser_tools.schema import Box

GridRule = Callable[[ProcessorMixin, Mapping[str, Tensor], int, int], tuple[int, int]]
"""(processor, processor output, image index in the batch, its token count) -> (h, w)."""

CoverRule = Callable[[ProcessorMixin, tuple[int, int]], Box]
"""(processor, image size (width, height)) -> the part of the image that the tokens cover."""


PositionRule = Callable[[PreTrainedModel, Tensor, Mapping[str, Tensor]], Tensor]
"""(model, tokens of one whole prompt (S,), processor output of its images) -> its position ids,
(S,) or, for M-RoPE, (3, S)."""


def _one_by_one(model: PreTrainedModel, ids: Tensor, images: Mapping[str, Tensor]) -> Tensor:
    return torch.arange(len(ids), device=ids.device)


@dataclass(frozen=True)
class Family:
    """Visual tokens of one family: their grid, the part of the image under it, their positions.

    `prefix_sharing`: a prompt goes on from the keys and values of its beginning, one call of the
    processor per image says all about it, and its tokens follow each other. Else: full passes.
    """

    grid_hw: GridRule
    covered: CoverRule
    positions: PositionRule = _one_by_one
    prefix_sharing: bool = True


def family_of(model_type: str) -> Family:
    """The family of a config's `model_type`. Raises ModelUnavailable for one we do not know."""
    if model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ModelUnavailable(f"Models of type '{model_type}' are not supported. Known: {known}.")
    return FAMILIES[model_type]


def _square_grid(
    processor: ProcessorMixin, inputs: Mapping[str, Tensor], image: int, n_tokens: int
) -> tuple[int, int]:
    side = isqrt(n_tokens)
    if side * side != n_tokens:
        raise ModelUnavailable(f"{n_tokens} visual tokens per image do not form a square grid.")
    return side, side


def _merged_grid(
    processor: ProcessorMixin, inputs: Mapping[str, Tensor], image: int, n_tokens: int
) -> tuple[int, int]:
    merge = processor.image_processor.merge_size
    _, height, width = inputs["image_grid_thw"][image].tolist()
    return height // merge, width // merge


def _mrope(model: PreTrainedModel, ids: Tensor, images: Mapping[str, Tensor]) -> Tensor:
    """Text counts on; an image's tokens count along time, height and width (arXiv 2409.12191)."""
    is_visual = (ids == model.config.image_token_id).long()
    positions: Tensor = model.model.get_rope_index(
        ids[None], mm_token_type_ids=is_visual[None], image_grid_thw=images["image_grid_thw"]
    )[0]
    return positions[:, 0]


def _whole(processor: ProcessorMixin, size: tuple[int, int]) -> Box:
    return Box(x0=0, y0=0, x1=size[0], y1=size[1])


def _centre_crop(processor: ProcessorMixin, size: tuple[int, int]) -> Box:
    """What is left after the image processor's resize and centre crop, in original pixels."""
    rules = processor.image_processor
    if not rules.do_center_crop:
        return _whole(processor, size)
    scale_x, scale_y = _resize_scale(rules, size) if rules.do_resize else (1.0, 1.0)
    x0, x1 = _centred(size[0], rules.crop_size["width"] / scale_x)
    y0, y1 = _centred(size[1], rules.crop_size["height"] / scale_y)
    return Box(x0=x0, y0=y0, x1=x1, y1=y1)


def _resize_scale(rules: BaseImageProcessor, size: tuple[int, int]) -> tuple[float, float]:
    edge = rules.size.get("shortest_edge")
    if edge is None:
        return rules.size["width"] / size[0], rules.size["height"] / size[1]
    return edge / min(size), edge / min(size)


def _centred(side: int, visible: float) -> tuple[int, int]:
    length = min(max(round(visible), 1), side)
    start = (side - length) // 2
    return start, start + length


FAMILIES: dict[str, Family] = {
    "llava": Family(grid_hw=_square_grid, covered=_centre_crop),
    "qwen2_5_vl": Family(grid_hw=_merged_grid, covered=_whole, positions=_mrope),
}
