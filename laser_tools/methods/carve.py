"""CARVE (arXiv 2509.06461): a ratio over several layers, a mask of pixels, an enlarged crop.

Its sum over time steps is read at one step, the end of the prompt: what the answer's tokens would
add costs a generation under each prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from PIL import Image
from pydantic import Field

from laser_tools.errors import InvalidRequest
from laser_tools.grounding.contrast import relative_attention
from laser_tools.grounding.pixel_mask import kept_pixels
from laser_tools.grounding.regions import Region
from laser_tools.images.upright import UprightImage, hashed
from laser_tools.methods.base import Method
from laser_tools.methods.localise import (
    AttentionMaps,
    AttentionPair,
    Looked,
    against_general,
    with_map,
)
from laser_tools.methods.pipeline import CropMethod, from_view, goes_on
from laser_tools.methods.views import Images, fill_colour
from laser_tools.options import CropOptions, MaskFill, View
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import Prompt

FIRST_LAYER, LAST_LAYER, DEPTH = 20, 25, 32
"""The paper's layers, in models of 28 to 32; in a shallower one, the same shares of its depth."""


class CarveOptions(CropOptions):
    """Options of CARVE. The defaults are the released code's; a `box` is not masked."""

    layers: tuple[int, int] | None = None  # first and last, from 0; None = as in the paper
    damping: float = Field(default=1e-8, gt=0.0)  # lambda in A_question / (A_general + lambda)
    keep: float = Field(default=0.2, gt=0.0, le=1.0)  # p: share of the pixels that may be kept
    n_parts: int = Field(default=2, ge=1)  # K: connected parts of them that are
    mask_fill: MaskFill = "zero"
    view: View = "image+crop"
    direct_margin: float | Literal["fitted"] | None = None  # every question looks


RELEASED = CarveOptions()
"""The released code's options: p .2, black outside, original and refined image; K as in PAPER."""

PAPER = CarveOptions(keep=0.4, n_parts=2, view="crop")
"""The paper's options, from the refined image alone: the middle of its best p, .2 to .6, and the
smaller of its best K, 2 and 3. It gives no lambda: the released code's."""


def look(call: ModelCall, prompts: Sequence[Prompt], options: CarveOptions) -> Looked:
    """Attention divided by that of the general question, summed over the layers."""
    first, last = _layers(call.vlm, options)

    def rule(pair: AttentionPair, _: object) -> AttentionMaps:
        query, general = (
            grid[first : last + 1].mean(dim=1) for grid in (pair.query, pair.no_query)
        )  # layers x rows x columns
        ratios = relative_attention(query, general, epsilon=options.damping)
        strongest = first + int(ratios.flatten(1).amax(dim=1).argmax())
        return with_map(pair, strongest, ratios.sum(dim=0))

    until = None if goes_on(call.vlm, options) else last
    return against_general(call, prompts, rule, options, until)


def _layers(vlm: VLM, options: CarveOptions) -> tuple[int, int]:
    """The first and the last layer. Raises InvalidRequest if the model has no such layers."""
    n_layers: int = vlm.model.config.get_text_config().num_hidden_layers
    if options.layers is None:
        scale = 1.0 if n_layers > LAST_LAYER else n_layers / DEPTH
        return round(scale * FIRST_LAYER), round(scale * LAST_LAYER)
    first, last = options.layers
    if not 0 <= first <= last < n_layers:
        raise InvalidRequest(
            f"The model has layers 0 to {n_layers - 1}; {first} to {last} are not among them."
        )
    return first, last


def _kept(maps: AttentionMaps, size: tuple[int, int], options: CarveOptions) -> Region | None:
    return kept_pixels(maps.map, maps.map_box, options.keep, options.n_parts)


def refined_view(image: UprightImage, region: Region, options: CarveOptions) -> Images:
    """The refined image, alone or after the original."""
    refined = hashed(_refined(image, region, options))
    return (refined,) if options.view == "crop" else (image, refined)


def _refined(image: UprightImage, region: Region, options: CarveOptions) -> Image.Image:
    """The crop, its other pixels painted over, as large as the original's sides take it."""
    crop = image.crop(region.crop).pixels
    if region.kept is not None:
        grid = Image.fromarray(region.kept.to(torch.uint8).mul(255).numpy())
        shown = grid.resize(crop.size, Image.Resampling.NEAREST)
        behind = Image.new("RGB", crop.size, fill_colour(image, options.mask_fill))
        crop = Image.composite(crop, behind, shown)
    width, height = image.size
    scale = min(width / crop.width, height / crop.height)
    size = (round(scale * crop.width), round(scale * crop.height))
    return crop.resize((max(size[0], 1), max(size[1], 1)), Image.Resampling.BICUBIC)


METHOD = Method(
    CropMethod(look, _kept, (from_view(refined_view),), lambda _: "carve").answer, CarveOptions
)
