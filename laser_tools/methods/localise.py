"""Two prefills of the same image, with and without the query -> where the query made it look."""

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
from laser_tools.vlm.prompts import (
    Encoded,
    Prompt,
    encode,
    question_from_end,
    token_layout,
    visual_positions,
)


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
    query = encode(vlm, query_prompts(images, questions, options))
    with reading(vlm, query, options) as sink:
        prefill(vlm, query)
    return localise_from(vlm, query, sink, options)


def localise_from(
    vlm: VLM, query: Encoded, query_sink: Capture, options: LaserOptions
) -> list[AttentionMaps]:
    """The same, where the query pass has run already (its rows are in `query_sink`)."""
    no_query = encode(vlm, [_without_query(prompt, options) for prompt in query.prompts])
    with reading(vlm, no_query, options) as sink:
        prefill(vlm, no_query)
    pairs = zip(query_sink.rows(), sink.rows(), strict=True)
    return [_maps(vlm, query, i, *rows, options) for i, rows in enumerate(pairs)]


def query_prompts(
    images: Sequence[Image.Image], questions: Sequence[str], options: LaserOptions
) -> list[Prompt]:
    """The whole image and the question: what is asked plainly, and what attention is read from."""
    pairs = zip(images, questions, strict=True)
    return [Prompt((image,), question, options.answer_instruction) for image, question in pairs]


def reading(vlm: VLM, encoded: Encoded, options: LaserOptions) -> AbstractContextManager[Capture]:
    """Capture of the first pass over `encoded`, at the positions that `options.readout` names."""
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


def prefill(vlm: VLM, encoded: Encoded) -> None:
    """One forward pass over the whole prompt, for what `capture` reads on the way."""
    with torch.inference_mode():
        vlm.model(**encoded.inputs, use_cache=False, logits_to_keep=1)


def _without_query(prompt: Prompt, options: LaserOptions) -> Prompt:
    kept = prompt.instruction if options.no_query == "instruction" else ""
    return Prompt(prompt.images, None, kept)


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
