"""The gradient of the answer's first token by the image's pixels, by a whole pass and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from laser_tools.errors import InvalidRequest
from laser_tools.vlm import layouts
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import Encoded, Prompt, encode, visual_positions
from laser_tools.vlm.reading.gradients import best_log_probability, frozen


@dataclass(frozen=True)
class PixelGradient:
    """One image as the model sees it, on the CPU."""

    norms: Tensor  # (H, W): length of the gradient by a pixel's channels
    pixels: Tensor  # (C, H, W), 0-1
    grid_hw: tuple[int, int]  # of the visual tokens, row by row

    def per_token(self, values: Tensor) -> Tensor:
        """(N,): the means of `values` (H, W) over the pixels of each visual token."""
        h, w = self.grid_hw
        blocks = values.view(h, values.shape[0] // h, w, values.shape[1] // w)
        return blocks.mean(dim=(1, 3)).flatten()


@dataclass(frozen=True)
class PixelGradients:
    """Of each prompt's image."""

    encoded: Encoded
    rows: list[PixelGradient]


def pixel_gradients(call: ModelCall, prompts: Sequence[Prompt]) -> PixelGradients:
    """Of the log-probability of the likeliest next token. The prompts have an image each.

    Raises InvalidRequest for a family whose images are cut into tiles.
    """
    vlm = call.vlm
    if vlm.family.layout not in (layouts.one_grid, layouts.merged_grid):
        raise InvalidRequest(
            "The pure gradient needs a model that takes an image in one piece: use relative."
        )
    call.check()
    encoded = encode(vlm, prompts)
    values = encoded.inputs["pixel_values"].detach().clone().requires_grad_()
    with frozen(vlm.model), torch.enable_grad():
        inputs = {**encoded.inputs, "pixel_values": values}
        logits = vlm.model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
        (gradient,) = torch.autograd.grad(best_log_probability(logits).sum(), values)
    both = (_images(vlm, encoded, each.detach().cpu()) for each in (gradient, values))
    tokens = visual_positions(vlm, encoded)
    return PixelGradients(
        encoded,
        [
            PixelGradient(slope.double().norm(dim=0), _denormalised(vlm, image), grid)
            for slope, image, grid in zip(*both, _grids(encoded, tokens), strict=True)
        ],
    )


def _images(vlm: VLM, encoded: Encoded, values: Tensor) -> list[Tensor]:
    """(C, H, W) each. Patches in a row, two frames of each, are put back in their places."""
    if "image_grid_thw" not in encoded.inputs:
        return list(values)
    grids = encoded.inputs["image_grid_thw"].tolist()
    rules = vlm.processor.image_processor
    merge, side = rules.merge_size, rules.patch_size
    rows = torch.split(values, [t * h * w for t, h, w in grids])
    return [
        patches.view(
            h // merge, w // merge, merge, merge, -1, rules.temporal_patch_size, side, side
        )
        .sum(dim=5)
        .permute(4, 0, 2, 5, 1, 3, 6)
        .reshape(-1, h * side, w * side)
        for patches, (_, h, w) in zip(rows, grids, strict=True)
    ]


def _denormalised(vlm: VLM, image: Tensor) -> Tensor:
    rules = vlm.processor.image_processor
    frames = getattr(rules, "temporal_patch_size", 1)
    mean, std = (torch.tensor(each)[:, None, None] for each in (rules.image_mean, rules.image_std))
    return image / frames * std + mean


def _grids(encoded: Encoded, tokens: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Rows and columns of the visual tokens of each image; a square where nothing is said."""
    if "image_grid_thw" not in encoded.inputs:
        return [(int(len(row) ** 0.5), int(len(row) ** 0.5)) for row in tokens]
    grids = encoded.inputs["image_grid_thw"].tolist()
    merged = [int((h * w / len(row)) ** 0.5) for (_, h, w), row in zip(grids, tokens, strict=True)]
    return [(h // m, w // m) for (_, h, w), m in zip(grids, merged, strict=True)]
