"""Attention to the same image, with and without the query -> where the query made it look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from laser_tools.grounding.contrast import contrastive_attention
from laser_tools.grounding.layers import choose_layer, localisation_map, vaq_scores
from laser_tools.images.upright import UprightImage
from laser_tools.methods.base import query_prompts
from laser_tools.options import LookOptions
from laser_tools.schema import Box, Localisation
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import Prompt, token_layout
from laser_tools.vlm.reading import read
from laser_tools.vlm.reading.base import Read


@dataclass(frozen=True)
class AttentionMaps:
    """What was read and what was chosen; float32 on the CPU, grids over `map_box`."""

    query: Tensor  # (L, H, h, w): attention to the visual tokens, with the query
    no_query: Tensor  # (L, H, h, w): and without it
    map_box: Box  # the part of the image that the grid covers
    layers: tuple[int, ...]  # the real numbers of the L layers
    layer_idx: int  # the real number of the chosen one
    vaq: Tensor  # (L,)
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

    read: Read
    maps: list[AttentionMaps]


Localiser = Callable[[ModelCall, Sequence[Prompt], Any], Looked]
"""(call, prompts with the query, the method's options) -> where it looked."""


def localise(
    vlm: VLM, images: Sequence[UprightImage], questions: Sequence[str], options: LookOptions
) -> list[AttentionMaps]:
    """Where each question makes the model look in its image. One batch."""
    prompts = query_prompts(images, questions, options)
    return contrastive(ModelCall(vlm, images), prompts, options).maps


def contrastive(call: ModelCall, prompts: Sequence[Prompt], options: LookOptions) -> Looked:
    """LASER's: attention with the query minus attention without it, at the layer VAQ chooses.

    The prompts without the query take part in the same pass.
    """
    n = len(prompts)
    both = read(call, [*prompts, *_without_query(prompts, options)], watch=options.readout)
    found = both.watched
    pairs = zip(found.rows[:n], found.rows[n:], strict=True)
    with call.stage("attend"):
        maps = [_maps(call.vlm, both, i, *pair, options) for i, pair in enumerate(pairs)]
    return Looked(both, maps)


def _without_query(prompts: Sequence[Prompt], options: LookOptions) -> list[Prompt]:
    keeps = options.no_query == "instruction"
    return [Prompt(prompt.images, None, prompt.instruction if keeps else "") for prompt in prompts]


def _maps(
    vlm: VLM, both: Read, row: int, query: Tensor, no_query: Tensor, options: LookOptions
) -> AttentionMaps:
    layout = token_layout(vlm, both.encoded, row, query.shape[-1])
    query, no_query = layout.place(query.cpu()), layout.place(no_query.cpu())
    a_con = contrastive_attention(
        query.flatten(-2), no_query.flatten(-2), renormalise=options.renormalise
    )
    vaq = vaq_scores(a_con, options.k_head)
    chosen = choose_layer(vaq, options.layer, options.first_layer)
    heat = localisation_map(a_con, chosen, options.k_head, options.aggregate)
    layers = both.watched.layers
    return AttentionMaps(
        query=query,
        no_query=no_query,
        map_box=layout.box,
        layers=layers,
        layer_idx=layers[chosen],
        vaq=vaq,
        map=heat.reshape(layout.tokens.shape),
    )
