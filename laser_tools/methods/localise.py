"""Attention to an image under two prompts -> where the question made the model look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from laser_tools.errors import InvalidRequest
from laser_tools.grounding.contrast import contrastive_attention
from laser_tools.grounding.layers import (
    choose_layer,
    largest_map,
    localisation_map,
    maps_by_layer,
    vaq_scores,
    weighted_map,
)
from laser_tools.grounding.localiser import fitted_weights
from laser_tools.images.upright import UprightImage
from laser_tools.methods.base import query_prompts
from laser_tools.options import LookOptions
from laser_tools.schema import Box, Localisation
from laser_tools.vlm.budget import budget_of
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prefix_cache import LookKey
from laser_tools.vlm.prompts import Prompt, token_layout
from laser_tools.vlm.reading import read
from laser_tools.vlm.reading.base import Read, Readout

GENERAL = "Write a general description of the image."
"""A prompt that asks for nothing in particular (ViCrop, arXiv 2502.17422; CARVE, 2509.06461)."""


@dataclass(frozen=True)
class AttentionPair:
    """Attention recorded for one question; float32 on the CPU, grids over `map_box`."""

    query: Tensor  # (L, H, h, w): attention to the visual tokens, with the query
    no_query: Tensor  # (L, H, h, w): of the prompt it is compared with; zeros if there is none
    map_box: Box  # the part of the image that the grid covers
    layers: tuple[int, ...]  # the real numbers of the L layers
    input_px: int | None  # side of the squares that the model takes, where it takes such


@dataclass(frozen=True)
class AttentionMaps(AttentionPair):
    """Recorded attention, the map made of it, and the layer that decided."""

    layer_idx: int  # the real number of the layer that decided
    vaq: Tensor  # (L,), or (0,) for a method without such scores
    map: Tensor  # (h, w), >= 0

    def as_localisation(self) -> Localisation:
        return Localisation(
            layer_idx=self.layer_idx,
            vaq=tuple(self.vaq.tolist()),
            map=tuple(tuple(row) for row in self.map.tolist()),
            map_box=self.map_box,
        )


@dataclass(frozen=True)
class Looked:
    """The prompts with the query, read to their ends, and where it made the model look."""

    read: Read | None  # None where no answer goes on from it (`goes_on`)
    maps: list[AttentionMaps]


Localiser = Callable[[ModelCall, Sequence[Prompt], Any], Looked]
"""(call, prompts with the query, the method's options) -> where it looked."""

MapRule = Callable[[AttentionPair, Any], AttentionMaps]
"""(what was read of one question, the method's options) -> its map."""


def localise(
    vlm: VLM, images: Sequence[UprightImage], questions: Sequence[str], options: LookOptions
) -> list[AttentionMaps]:
    """The maps of where each question makes the model look in its image. One batch."""
    prompts = query_prompts(images, questions, options)
    call = ModelCall(vlm, images, budget=budget_of(options))
    return contrastive(call, prompts, options).maps


def contrastive(call: ModelCall, prompts: Sequence[Prompt], options: LookOptions) -> Looked:
    """LASER's: attention with the query minus attention without it, of the layers in `options`."""
    others = without_query(prompts, options)
    rule = map_rule(call.vlm, options)
    return compared(call, prompts, others, rule, options, options.readout)


def compared(
    call: ModelCall,
    prompts: Sequence[Prompt],
    others: Sequence[Prompt],
    rule: MapRule,
    options: object,
    watch: Readout = "last",
) -> Looked:
    """Maps by `rule` from the attention of `prompts` and of `others`, all read in the same pass.

    `others` has a prompt per prompt, or none.
    """
    found = read(call, [*prompts, *others], watch=watch)
    rows = found.watched.rows[len(prompts) :] if others else [None] * len(prompts)
    return Looked(found, _maps(call, found, rows, rule, options))


def against_general(
    call: ModelCall,
    prompts: Sequence[Prompt],
    rule: MapRule,
    options: object,
    until: int | None = None,
) -> Looked:
    """Maps by `rule` from the attention of `prompts` and of the general prompt about their images.

    An image's general prompt is read once: the attention is kept as long as the image's prefix is.
    With `until`, the last layer that the rule needs, no answer goes on from the pass.
    """
    general = general_prompts(prompts)
    keys = [_look_key(call, prompt, until) for prompt in general]
    pairs = zip(keys, general, strict=True)
    unread = {key: prompt for key, prompt in pairs if call.look(key) is None}
    found = read(call, [*prompts, *unread.values()], watch="last", until=until)
    for key, row in zip(unread, found.watched.rows[len(prompts) :], strict=True):
        call.put_look(key, row[: None if until is None else until + 1].clone())
    rows = [call.look(key) for key in keys]
    return Looked(found if until is None else None, _maps(call, found, rows, rule, options))


def general_prompts(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The same images and answer instruction, with the general question."""
    return [Prompt(prompt.images, GENERAL, prompt.instruction) for prompt in prompts]


def _look_key(call: ModelCall, prompt: Prompt, until: int | None) -> LookKey:
    seen = tuple(call.shown(image).sha256 for image in prompt.images)
    return seen, prompt.question, prompt.instruction, until


def map_rule(vlm: VLM, options: LookOptions) -> MapRule:
    """The rule that `options.layer` names. Raises InvalidRequest where nothing fitted fits."""
    if options.layer != "fitted":
        return vaq_map
    return partial(_fitted_map, torch.tensor(fitted_weights(vlm.localiser, options)))


def vaq_map(pair: AttentionPair, options: LookOptions) -> AttentionMaps:
    """The contrastive map of the layer with the highest VAQ, or of a fixed one (LASER, 3-5).

    Or of all layers: the largest values, or the sum by VAQ. Raises InvalidRequest for layers that
    the model has not, and for "fitted".
    """
    a_con = contrast(pair, options)
    vaq = vaq_scores(a_con, options.k_head)
    if options.layer == "vaq" or isinstance(options.layer, int):
        chosen = choose_layer(vaq, options.layer, options.first_layer)
        heat = localisation_map(a_con, chosen, options.k_head, options.aggregate)
        return with_map(pair, chosen, heat, vaq)
    if options.layer == "fitted":
        raise InvalidRequest("layer='fitted' is for the method 'laser': it was fitted to contrast.")
    maps = all_maps(a_con, options)
    heat, strongest = largest_map(maps) if options.layer == "max" else weighted_map(maps, vaq)
    return with_map(pair, strongest, heat, vaq)


def _fitted_map(weights: Tensor, pair: AttentionPair, options: LookOptions) -> AttentionMaps:
    """The sum of the layers' contrastive maps by fitted weights (L,)."""
    a_con = contrast(pair, options)
    maps = all_maps(a_con, options)
    if len(weights) != len(maps):
        raise InvalidRequest(
            f"The localiser has weights for {len(weights)} layers, the model has {len(maps)}."
        )
    heat, strongest = weighted_map(maps, weights)
    return with_map(pair, strongest, heat, vaq_scores(a_con, options.k_head))


def all_maps(a_con: Tensor, options: LookOptions) -> Tensor:
    """Every layer's map (L, N). Raises InvalidRequest if none is left."""
    return maps_by_layer(a_con, options.k_head, options.aggregate, options.first_layer)


def contrast(pair: AttentionPair, options: LookOptions) -> Tensor:
    """Contrastive attention (L, H, N), LASER eq. 3."""
    return contrastive_attention(
        pair.query.flatten(-2), pair.no_query.flatten(-2), renormalise=options.renormalise
    )


def with_map(
    pair: AttentionPair, layer: int, heat: Tensor, vaq: Tensor | None = None
) -> AttentionMaps:
    """The pair with its map `heat` (h, w) or (N,), decided by entry `layer` of its L layers."""
    return AttentionMaps(
        query=pair.query,
        no_query=pair.no_query,
        map_box=pair.map_box,
        layers=pair.layers,
        input_px=pair.input_px,
        layer_idx=pair.layers[layer],
        vaq=torch.empty(0) if vaq is None else vaq,
        map=heat.reshape(pair.query.shape[-2:]),
    )


def without_query(prompts: Sequence[Prompt], options: LookOptions) -> list[Prompt]:
    """The same prompts without what is asked; the answer instruction may stay."""
    keeps = options.no_query == "instruction"
    return [Prompt(prompt.images, None, prompt.instruction if keeps else "") for prompt in prompts]


def _maps(
    call: ModelCall, found: Read, others: Sequence[Tensor | None], rule: MapRule, options: object
) -> list[AttentionMaps]:
    """Of the first prompts in `found`, each held against the attention (L, H, N) in `others`."""
    with call.stage("attend"):
        pairs = [_pair(call.vlm, found, row, other) for row, other in enumerate(others)]
        return [rule(pair, options) for pair in pairs]


def _pair(vlm: VLM, found: Read, row: int, other: Tensor | None) -> AttentionPair:
    """Over the layers of `other`, which may be kept from a pass that ended earlier."""
    mine = found.watched.rows[row].cpu()
    other = torch.zeros_like(mine) if other is None else other.cpu()
    layout = token_layout(vlm, found.encoded, row, mine.shape[-1])
    query, no_query = layout.place(mine[: len(other)]), layout.place(other)
    layers = found.watched.layers[: len(other)]
    return AttentionPair(query, no_query, layout.box, layers, vlm.input_px)
