"""Asking the model whether a thing is there: FOCUS's step, and a check on any method's answers.

A model that is asked for the label of a giraffe reads some label; asked whether there is a giraffe
it says no. So answers that claim something are held against that, where the options want it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from laser_tools.grounding.abstain import abstention
from laser_tools.images.upright import UprightImage
from laser_tools.methods.targets import named
from laser_tools.options import PresenceOptions, PromptOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.choices import first_tokens
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import Prompt, tail_text
from laser_tools.vlm.reading import read

YES, NO = ("Yes", "yes"), ("No", "no")
CLAIM_NOTHING = frozenset({"yes", "no", "0", "zero"})
"""Answers that say whether, not what: "Is there a giraffe?" is its own check, and so is "0"."""
ASKED_A_PASS = 16
"""Prompts that are asked together, so that memory does not grow with their number."""


def existence_prompts(
    images: tuple[UprightImage, ...], names: Sequence[str], options: PresenceOptions
) -> list[Prompt]:
    """A prompt per name, which asks whether that is in the image."""
    return [Prompt(images, options.existence.replace("{target}", name)) for name in names]


def existence(call: ModelCall, prompts: Sequence[Prompt]) -> list[float]:
    """By how many logits each prompt's answer is yes rather than no; higher is surer."""
    found: list[float] = []
    for start in range(0, len(prompts), ASKED_A_PASS):
        passed = read(call, prompts[start : start + ASKED_A_PASS], watch="last")
        logits = passed.next_logits.float().cpu()
        tails = [tail_text(call.vlm, text) for text in passed.texts]
        found += [_yes(call.vlm, row, tail) for row, tail in zip(logits, tails, strict=True)]
    return found


def _yes(vlm: VLM, logits: Tensor, tail: str) -> float:
    """0 for a model that has no such words."""
    yes, no = (first_tokens(vlm, tail, words) for words in (YES, NO))
    return float(logits[yes].max() - logits[no].max()) if yes and no else 0.0


def present_only(
    call: ModelCall,
    requests: Sequence[AnswerRequest],
    answers: Sequence[GroundedAnswer],
    options: PromptOptions,
) -> list[GroundedAnswer]:
    """The answers, but for those about what the model says is not there."""
    margin, claims = options.presence_margin, [_claims(answer, options) for answer in answers]
    if margin is None or not any(claims):
        return list(answers)
    checked = [i for i, claim in enumerate(claims) if claim]
    absent = _absent(call.of(checked), [requests[i] for i in checked], margin, options)
    denied = {i for i, is_absent in zip(checked, absent, strict=True) if is_absent}
    return [
        answer.model_copy(update={"answer": "not there", "abstain": "not_there"})
        if i in denied
        else answer
        for i, answer in enumerate(answers)
    ]


def _claims(answer: GroundedAnswer, options: PromptOptions) -> bool:
    said = answer.answer.strip(" .").casefold()
    return bool(said) and said not in CLAIM_NOTHING and abstention(said, options) is None


def _absent(
    call: ModelCall, requests: Sequence[AnswerRequest], margin: float, options: PromptOptions
) -> list[bool]:
    """For each request whether something that its question names is not there.

    A question that names nothing, such as "What colour is it?", is asked about nothing.
    """
    names = [named(request.question) for request in requests]
    prompts = [
        prompt
        for request, several in zip(requests, names, strict=True)
        for prompt in existence_prompts((request.image,), several, options)
    ]
    sure = iter(existence(call, prompts))
    return [min([next(sure) for _ in several], default=math.inf) <= -margin for several in names]
