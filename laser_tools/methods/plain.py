"""The baseline: one image, greedy."""

from __future__ import annotations

from collections.abc import Sequence

from laser_tools.grounding.vat import VATFusion
from laser_tools.methods.clock import Clock, Timer
from laser_tools.methods.localise import query_prompts
from laser_tools.options import LaserOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer
from laser_tools.vlm.choices import choice_trie
from laser_tools.vlm.decode import Decoded, Limits, decode
from laser_tools.vlm.load import VLM
from laser_tools.vlm.prompts import Encoded, Prompt, encode, tail_text


def answer(
    vlm: VLM, requests: Sequence[AnswerRequest], options: LaserOptions
) -> list[GroundedAnswer]:
    """Answers from the whole image, without localisation: route `plain`, no evidence."""
    clock = Clock(len(requests))
    prompts = query_prompts([r.image for r in requests], [r.question for r in requests], options)
    decoded = decode_prompts(vlm, prompts, requests, clock.of(range(len(requests))))
    return [
        GroundedAnswer(
            answer=one.text,
            confidence=None,
            route="plain",
            method="plain",
            model=vlm.name,
            image_size=request.image.size,
            margins=one.margins,
            timings_s=timings_s,
        )
        for request, one, timings_s in zip(requests, decoded, clock.timings_s(), strict=True)
    ]


def decode_prompts(
    vlm: VLM,
    prompts: Sequence[Prompt],
    requests: Sequence[AnswerRequest],
    timer: Timer,
    fusion: VATFusion | None = None,
) -> list[Decoded]:
    """Encode and decode; with `fusion`, `prompts` is [positive, negative], twice the requests."""
    with timer("encode"):
        encoded = encode(vlm, prompts)
        limits = limits_of(vlm, encoded, requests)
    with timer("decode"):
        return decode(vlm, encoded, limits, fusion)


def limits_of(vlm: VLM, encoded: Encoded, requests: Sequence[AnswerRequest]) -> list[Limits]:
    """Length and choices of each request, with the choices tokenised behind its own prompt."""
    texts = encoded.texts[: len(requests)]
    return [
        Limits(
            request.max_new_tokens,
            choice_trie(vlm, tail_text(vlm, text), request.choices) if request.choices else None,
        )
        for request, text in zip(requests, texts, strict=True)
    ]
