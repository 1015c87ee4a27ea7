"""ViCrop (arXiv 2502.17422): one fixed layer, a window around the peak, [image, crop], no check.

Relative attention divides the attention of the question by that of a general one; gradient
attention weighs it by what it does for the answer's first token; the pure gradient asks the pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field

from laser_tools.errors import InvalidRequest
from laser_tools.grounding.contrast import relative_attention
from laser_tools.grounding.detail import detailed
from laser_tools.grounding.regions import Region
from laser_tools.grounding.windows import best_window
from laser_tools.methods.base import Method
from laser_tools.methods.localise import (
    AttentionMaps,
    AttentionPair,
    Looked,
    against_general,
    general_prompts,
    with_map,
)
from laser_tools.methods.pipeline import CropMethod, from_view, goes_on
from laser_tools.methods.tiles import TILES_A_PASS, joined_maps, tile_boxes
from laser_tools.methods.views import positive_view
from laser_tools.options import CropOptions
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import Prompt, token_layout
from laser_tools.vlm.reading import read
from laser_tools.vlm.reading.gradients import Gradients, attention_gradients
from laser_tools.vlm.reading.pixels import PixelGradient, PixelGradients, pixel_gradients

LAYER_SHARES = {"qwen2_vl": 22 / 28, "qwen2_5_vl": 22 / 28}
"""The paper's layer over the model's depth, by model type: 22 of 28."""
OTHER_LAYER_SHARE = 14 / 32
"""The same for all other types: that of LLaVA-1.5-7B, 14 of 32."""
OTHER_WINDOW_PX = 336
"""The window where the model takes images of any size: the paper's, LLaVA-1.5's input."""

TINY = 1e-20
"""Added to what is divided by, so that 0 / 0 is 0; the paper's code adds nothing."""


Attention = Literal["relative", "gradient", "pixels"]


class VicropOptions(CropOptions):
    """Options of ViCrop. The defaults are the paper's; `box` requests crop as LASER does."""

    attention: Attention = "relative"  # rel-att | grad-att | pure-grad
    layer: int | None = None  # negative from the end; None = the paper's share of the depth
    window_px: int | None = Field(default=None, ge=1)  # None = the side of the model's input
    tile_px: int | None = Field(
        default=None, ge=32
    )  # tiles of this height each have a map (*_high)
    direct_margin: float | Literal["fitted"] | None = None  # every question looks


PAPER = VicropOptions()
"""ViCrop rel-att as its paper has it."""

PAPER_GRADIENT = VicropOptions(attention="gradient")
"""ViCrop grad-att as its paper has it."""

PAPER_PURE = VicropOptions(attention="pixels")
"""ViCrop pure-grad as its code has it."""

HIGH = 1024
"""The paper's `tile_px` for images of high resolution."""


def look(call: ModelCall, prompts: Sequence[Prompt], options: VicropOptions) -> Looked:
    """Where the question makes the model look, at the fixed layer."""
    if options.tile_px is None:
        return _look(call, prompts, options)
    cut = [tile_boxes(prompt.images[0].size, options.tile_px) for prompt in prompts]
    tiles = [
        Prompt((prompt.images[0].crop(box),), prompt.question, prompt.instruction)
        for prompt, (boxes, _) in zip(prompts, cut, strict=True)
        for box in boxes
    ]
    starts = range(0, len(tiles), TILES_A_PASS)
    passes = [_look(call, tiles[start : start + TILES_A_PASS], options) for start in starts]
    maps = iter([found for looked in passes for found in looked.maps])
    query = read(call, prompts, watch="last") if goes_on(call.vlm, options) else None
    return Looked(query, [
        joined_maps([next(maps) for _ in boxes], columns, prompt.images[0])
        for prompt, (boxes, columns) in zip(prompts, cut, strict=True)
    ])  # fmt: skip


def _look(call: ModelCall, prompts: Sequence[Prompt], options: VicropOptions) -> Looked:
    layer = fixed_layer(call.vlm, options)
    if options.attention == "gradient":
        return _by_gradient(call, prompts, layer)
    if options.attention == "pixels":
        return _by_pixels(call, prompts, options)

    def rule(pair: AttentionPair, _: object) -> AttentionMaps:
        query, general = (grid[layer].mean(dim=0) for grid in (pair.query, pair.no_query))
        return with_map(pair, layer, relative_attention(query, general, epsilon=TINY))

    until = None if goes_on(call.vlm, options) else layer
    return against_general(call, prompts, rule, options, until)


def fixed_layer(vlm: VLM, options: VicropOptions) -> int:
    """The layer that is read. Raises InvalidRequest if the model has no such layer."""
    n_layers: int = vlm.model.config.get_text_config().num_hidden_layers
    if options.layer is None:
        share = LAYER_SHARES.get(vlm.model.config.model_type, OTHER_LAYER_SHARE)
        return min(round(share * n_layers), n_layers - 1)
    if not -n_layers <= options.layer < n_layers:
        raise InvalidRequest(f"The model has {n_layers} layers; there is no layer {options.layer}.")
    return options.layer % n_layers


def _by_gradient(call: ModelCall, prompts: Sequence[Prompt], layer: int) -> Looked:
    """Head mean of A * ReLU(dA), dA the gradient of the likeliest token's log-probability.

    The prompts are read as usual, for decoding; the gradients take a pass of their own.
    """
    found = read(call, prompts, watch="last")
    with call.stage("attend"):
        rows = attention_gradients(call, prompts, layer)
        maps = [_gradient_map(call.vlm, rows, row, layer) for row in range(len(prompts))]
    return Looked(found, maps)


def _by_pixels(call: ModelCall, prompts: Sequence[Prompt], options: VicropOptions) -> Looked:
    """How much the likeliest token depends on each pixel, over the same of the general prompt.

    Counted where the image has detail, and averaged over the pixels of each visual token.
    """
    query = read(call, prompts, watch="last") if goes_on(call.vlm, options) else None
    with call.stage("attend"):
        found, general = (
            pixel_gradients(call, asked) for asked in (prompts, general_prompts(prompts))
        )
        pairs = zip(found.rows, general.rows, strict=True)
        return Looked(query, [
            _pixel_map(call.vlm, found, row, *pair) for row, pair in enumerate(pairs)
        ])  # fmt: skip


def _pixel_map(
    vlm: VLM, found: PixelGradients, row: int, query: PixelGradient, general: PixelGradient
) -> AttentionMaps:
    ratio = relative_attention(query.norms, general.norms, epsilon=TINY)
    tokens = query.per_token(ratio * detailed(query.pixels))
    layout = token_layout(vlm, found.encoded, row, len(tokens))
    grid = layout.place(tokens.float())[None, None]
    last: int = vlm.model.config.get_text_config().num_hidden_layers - 1
    pair = AttentionPair(grid, torch.zeros_like(grid), layout.box, (last,), vlm.input_px)
    return with_map(pair, 0, grid[0, 0])


def _gradient_map(vlm: VLM, found: Gradients, row: int, layer: int) -> AttentionMaps:
    attention, gradient = found.rows[row]
    layout = token_layout(vlm, found.encoded, row, attention.shape[-1])
    query = layout.place(attention)[None]  # one layer
    pair = AttentionPair(query, torch.zeros_like(query), layout.box, (layer,), vlm.input_px)
    return with_map(pair, 0, layout.place((attention * gradient.relu()).mean(dim=0)))


def _window(maps: AttentionMaps, size: tuple[int, int], options: VicropOptions) -> Region | None:
    window_px = options.window_px or maps.input_px or OTHER_WINDOW_PX
    return best_window(maps.map, maps.map_box, size, window_px)


METHOD = Method(
    CropMethod(look, _window, (from_view(positive_view),), lambda _: "vicrop").answer,
    VicropOptions,
)
