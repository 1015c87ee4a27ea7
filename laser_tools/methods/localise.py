"""Attention to the same image, with and without the query -> where the query made it look."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from laser_tools.grounding.contrast import contrastive_attention
from laser_tools.grounding.layers import choose_layer, localisation_map, vaq_scores
from laser_tools.options import LaserOptions
from laser_tools.schema import Box, Localisation
from laser_tools.vlm.capture import Capture, capture
from laser_tools.vlm.load import VLM
from laser_tools.vlm.prefix import prefilled
from laser_tools.vlm.prompts import (
    Encoded,
    Prompt,
    question_from_end,
    rest,
    token_layout,
    visual_positions,
)
from laser_tools.vlm.session import Session


@dataclass(frozen=True)
class AttentionMaps:
    """What was read and what was chosen; float32 on the CPU, grids over `map_box`."""

    query: Tensor  # (L, H, h, w): attention to the visual tokens, with the query
    no_query: Tensor  # (L, H, h, w): and without it
    map_box: Box  # the part of the image that the grid covers
    layer_idx: int
    vaq: Tensor  # (L,)
    map: Tensor  # (h, w), >= 0

    def as_localisation(self) -> Localisation:
        return Localisation(
            layer_idx=self.layer_idx,
            vaq=tuple(self.vaq.tolist()),
            map=tuple(tuple(row) for row in self.map.tolist()),
            map_box=self.map_box,
        )


def localise(
    vlm: VLM,
    images: Sequence[Image.Image],
    questions: Sequence[str],
    options: LaserOptions,
) -> list[AttentionMaps]:
    """Where each question makes the model look in its image (upright RGB). One batch."""
    return find_maps(Session(vlm, images), query_prompts(images, questions, options), options)


def find_maps(
    session: Session, prompts: Sequence[Prompt], options: LaserOptions
) -> list[AttentionMaps]:
    """The same from prompts with the query; those without it are rows of the same pass."""
    n = len(prompts)
    both = prefilled(session, [*prompts, *_without_query(prompts, options)])
    rows = _rows(session, both, options)
    return _all_maps(session.vlm, both, rows[:n], rows[n:], options)


def find_maps_behind(
    session: Session, prompts: Sequence[Prompt], query: Sequence[Tensor], options: LaserOptions
) -> list[AttentionMaps]:
    """The same, where the rows (L, H, N) of the prompts with the query have been read already."""
    encoded = prefilled(session, _without_query(prompts, options))
    return _all_maps(session.vlm, encoded, query, _rows(session, encoded, options), options)


def query_prompts(
    images: Sequence[Image.Image], questions: Sequence[str], options: LaserOptions
) -> list[Prompt]:
    """The whole image and the question: what is asked plainly, and what attention is read from."""
    pairs = zip(images, questions, strict=True)
    return [Prompt((image,), question, options.answer_instruction) for image, question in pairs]


def reading(vlm: VLM, encoded: Encoded, options: LaserOptions) -> AbstractContextManager[Capture]:
    """Capture of the next pass over `encoded`, at the positions that `options.readout` names."""
    weights = readout_weights(vlm, encoded, options)
    return capture(vlm, visual_positions(vlm, encoded), weights)


def readout_weights(vlm: VLM, encoded: Encoded, options: LaserOptions) -> Tensor:
    """(B, R): how the last R positions are averaged. A prompt without a question reads its last."""
    spans = [range(-1, 0)] * len(encoded)
    if options.readout == "question":
        spans = [
            span if prompt.question is None else question_from_end(vlm, text, prompt.question)
            for span, prompt, text in zip(spans, encoded.prompts, encoded.texts, strict=True)
        ]
    weights = torch.zeros(len(encoded), -min(span.start for span in spans))
    for row, span in enumerate(spans):
        weights[row, list(span)] = 1.0 / len(span)
    return weights


def _rows(session: Session, encoded: Encoded, options: LaserOptions) -> list[Tensor]:
    """Per row, attention (L, H, N) to the visual tokens, from one pass over what is left to do."""
    session.check()
    with reading(session.vlm, encoded, options) as sink:
        forward(session.vlm, encoded)
    return sink.rows()


def forward(vlm: VLM, encoded: Encoded) -> None:
    """One pass to the end of the prompt, for what `capture` reads on the way."""
    cache = encoded.past_key_values()
    with torch.inference_mode():
        if cache is None:
            vlm.model(**encoded.inputs, use_cache=False, logits_to_keep=1)
        else:
            inputs = rest(encoded.inputs, cache.get_seq_length())
            vlm.model(**inputs, past_key_values=cache, logits_to_keep=1)


def _without_query(prompts: Sequence[Prompt], options: LaserOptions) -> list[Prompt]:
    keeps = options.no_query == "instruction"
    return [Prompt(one.images, None, one.instruction if keeps else "") for one in prompts]


def _all_maps(
    vlm: VLM,
    encoded: Encoded,
    query: Sequence[Tensor],
    no_query: Sequence[Tensor],
    options: LaserOptions,
) -> list[AttentionMaps]:
    """Maps of the first rows of `encoded`, whose images are those that the rows were read on."""
    pairs = zip(query, no_query, strict=True)
    return [_maps(vlm, encoded, i, *rows, options) for i, rows in enumerate(pairs)]


def _maps(
    vlm: VLM, encoded: Encoded, row: int, query: Tensor, no_query: Tensor, options: LaserOptions
) -> AttentionMaps:
    layout = token_layout(vlm, encoded, row, query.shape[-1])
    query, no_query = layout.place(query.cpu()), layout.place(no_query.cpu())
    a_con = contrastive_attention(
        query.flatten(-2), no_query.flatten(-2), renormalise=options.renormalise
    )
    vaq = vaq_scores(a_con, options.k_head)
    layer_idx = choose_layer(vaq, options.layer, options.first_layer)
    heat = localisation_map(a_con, layer_idx, options.k_head, options.aggregate)
    return AttentionMaps(
        query=query,
        no_query=no_query,
        map_box=layout.box,
        layer_idx=layer_idx,
        vaq=vaq,
        map=heat.reshape(layout.tokens.shape),
    )
