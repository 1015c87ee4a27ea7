"""Attention to the same image, with and without the query -> where the query made it look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from laser_tools.grounding.contrast import contrastive_attention
from laser_tools.grounding.layers import choose_layer, localisation_map, vaq_scores
from laser_tools.methods.clock import Timer, untimed
from laser_tools.options import LaserOptions
from laser_tools.schema import Box, Localisation
from laser_tools.vlm.capture import Places, capture
from laser_tools.vlm.load import VLM
from laser_tools.vlm.packing import Packed
from laser_tools.vlm.prefix import pack, run
from laser_tools.vlm.prompts import (
    Encoded,
    Prompt,
    encode,
    question_from_end,
    token_layout,
    visual_positions,
)
from laser_tools.vlm.rows import Rows, tokenised
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
    prompts = query_prompts(images, questions, options)
    return look(Session(vlm, images), prompts, options)[1]


def look(
    session: Session,
    prompts: Sequence[Prompt],
    options: LaserOptions,
    timer: Timer = untimed,
) -> tuple[Encoded, list[AttentionMaps]]:
    """Prompts with the query, read to their ends, and where it made the model look.

    Those without the query take part in the same pass.
    """
    n = len(prompts)
    asked = [*prompts, *_without_query(prompts, options)]
    both, rows = read_attention(session, asked, options, timer)
    pairs = zip(rows[:n], rows[n:], strict=True)
    with timer("attend"):
        maps = [_maps(session.vlm, both, i, *pair, options) for i, pair in enumerate(pairs)]
    return both, maps


def query_prompts(
    images: Sequence[Image.Image], questions: Sequence[str], options: LaserOptions
) -> list[Prompt]:
    """The whole image and the question: what is asked plainly, and what attention is read from."""
    pairs = zip(images, questions, strict=True)
    return [Prompt((image,), question, options.answer_instruction) for image, question in pairs]


def readout_weights(vlm: VLM, batch: Encoded | Rows, options: LaserOptions) -> Tensor:
    """(B, R): how the last R positions are averaged. A prompt without a question reads its last."""
    spans = [range(-1, 0)] * len(batch.prompts)
    if options.readout == "question":
        spans = [
            span if prompt.question is None else question_from_end(vlm, text, prompt.question)
            for span, prompt, text in zip(spans, batch.prompts, batch.texts, strict=True)
        ]
    weights = torch.zeros(len(spans), -min(span.start for span in spans))
    for row, span in enumerate(spans):
        weights[row, list(span)] = 1.0 / len(span)
    return weights


def read_attention(
    session: Session, prompts: Sequence[Prompt], options: LaserOptions, timer: Timer = untimed
) -> tuple[Encoded, list[Tensor]]:
    """The prompts, and per prompt attention (L, H, N) to the visual tokens."""
    vlm = session.vlm
    if not vlm.family.prefix_sharing:
        with timer("encode"):
            encoded = encode(vlm, prompts)
        with timer("attend"):
            return _read_whole(session, encoded, options)
    with timer("encode"):
        rows = tokenised(session, prompts)
        packed = pack(session, rows)
    with timer("attend"):
        return _run_watched(session, rows, packed, options)


def _run_watched(
    session: Session, rows: Rows, packed: Packed, options: LaserOptions
) -> tuple[Encoded, list[Tensor]]:
    """One pass, with what it attends to."""
    vlm = session.vlm
    places = [packed.places[prompt] for prompt in range(len(rows.rows))]
    visual = [packed.visual(row) for row, _ in places]
    weights = readout_weights(vlm, rows, options)
    with capture(vlm, visual, weights, Places(places, packed.behind)) as sink:
        encoded = run(session, rows, packed)
    return encoded, sink.rows()


def _read_whole(
    session: Session, encoded: Encoded, options: LaserOptions
) -> tuple[Encoded, list[Tensor]]:
    """The same by a pass over everything, of which nothing is kept but the logits."""
    vlm = session.vlm
    session.check()
    weights = readout_weights(vlm, encoded, options)
    with capture(vlm, visual_positions(vlm, encoded), weights) as sink, torch.inference_mode():
        logits = vlm.model(**encoded.inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
    return replace(encoded, logits=logits), sink.rows()


def _without_query(prompts: Sequence[Prompt], options: LaserOptions) -> list[Prompt]:
    keeps = options.no_query == "instruction"
    return [Prompt(one.images, None, one.instruction if keeps else "") for one in prompts]


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
