"""The method type, and what all methods share: prompts, decoding, results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from laser_tools.grounding.vat import VATFusion
from laser_tools.images.upright import UprightImage
from laser_tools.options import PromptOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.choices import choice_trie
from laser_tools.vlm.decode import Decoded, Limits, decode
from laser_tools.vlm.prompts import Prompt, tail_text
from laser_tools.vlm.reading.base import Read
from laser_tools.vlm.telling import ALWAYS, NEVER, Teller


class Answerer(Protocol):
    def __call__(
        self,
        call: ModelCall,
        requests: Sequence[AnswerRequest],
        options: Any,  # noqa: ANN401 (of the method's own type)
    ) -> list[GroundedAnswer]:
        """One answer per request, in order, without confidence and times."""
        ...


@dataclass(frozen=True)
class Method:
    """A way to answer. Nothing is kept between calls but the model's prefix cache."""

    answer: Answerer
    options: type[PromptOptions]
    calibrated: bool = False  # whether a model's calibration was fitted to answers of this method
    crops: bool = True  # whether it looks at a part, so that a `box` means something to it


def query_prompts(
    images: Sequence[UprightImage], questions: Sequence[str], options: PromptOptions
) -> list[Prompt]:
    """The whole image and the question: what is asked plainly, and what attention is read from."""
    pairs = zip(images, questions, strict=True)
    return [Prompt((image,), question, options.answer_instruction) for image, question in pairs]


def decode_requests(
    call: ModelCall,
    read: Read,
    requests: Sequence[AnswerRequest],
    fusion: VATFusion | None = None,
    final_from: Sequence[float] = (),
) -> list[Decoded]:
    """Decode each request; with `fusion`, `read` is [positive, negative], twice as long.

    `final_from` is, per request, the margin of its first decided token from which this will be its
    answer, and its listener hears it; without it, all answers are final.
    """
    tellers = _tellers(requests, final_from or [ALWAYS] * len(requests))
    with call.stage("decode"):
        return decode(call.vlm, read, limits_of(call, read, requests), fusion, call.check, tellers)


def _tellers(requests: Sequence[AnswerRequest], final_from: Sequence[float]) -> dict[int, Teller]:
    pairs = enumerate(zip(requests, final_from, strict=True))
    return {
        row: Teller(request.listener, least)
        for row, (request, least) in pairs
        if request.listener is not None and least < NEVER
    }


def limits_of(call: ModelCall, read: Read, requests: Sequence[AnswerRequest]) -> list[Limits]:
    """Length and choices of each request, with the choices tokenised as they follow its prompt."""
    vlm, texts = call.vlm, read.texts[: len(requests)]
    return [
        Limits(
            request.max_new_tokens,
            choice_trie(vlm, tail_text(vlm, text), request.choices) if request.choices else None,
        )
        for request, text in zip(requests, texts, strict=True)
    ]
