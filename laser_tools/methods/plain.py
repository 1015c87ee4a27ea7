"""The baseline: one image, greedy."""

from __future__ import annotations

from collections.abc import Sequence

from laser_tools.grounding.vat import VATFusion
from laser_tools.methods.clock import Clock
from laser_tools.methods.localise import query_prompts
from laser_tools.options import LaserOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer
from laser_tools.stop import ShouldStop, never
from laser_tools.vlm.choices import choice_trie
from laser_tools.vlm.decode import Decoded, Limits, decode
from laser_tools.vlm.load import VLM
from laser_tools.vlm.prefix import read
from laser_tools.vlm.prompts import Encoded, tail_text
from laser_tools.vlm.session import Session


def answer(
    vlm: VLM,
    requests: Sequence[AnswerRequest],
    options: LaserOptions,
    should_stop: ShouldStop = never,
) -> list[GroundedAnswer]:
    """Answers from the whole image, without localisation: route `plain`, no evidence."""
    clock = Clock(len(requests), vlm.synchronize)
    timer = clock.of(range(len(requests)))
    images = [request.image for request in requests]
    session = Session(vlm, images, should_stop, [request.cache_salt for request in requests])
    with timer("encode"):
        prompts = query_prompts(images, [request.question for request in requests], options)
        encoded = read(session, prompts)
    with timer("decode"):
        decoded = decode_requests(session, encoded, requests)
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
            prefix_hits=session.hits(request.image),
        )
        for request, one, timings_s in zip(requests, decoded, clock.timings_s(), strict=True)
    ]


def decode_requests(
    session: Session,
    encoded: Encoded,
    requests: Sequence[AnswerRequest],
    fusion: VATFusion | None = None,
) -> list[Decoded]:
    """Decode each request; with `fusion`, `encoded` is [positive, negative], twice as long."""
    limits = limits_of(session.vlm, encoded, requests)
    return decode(session.vlm, encoded, limits, fusion, session.check)


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
