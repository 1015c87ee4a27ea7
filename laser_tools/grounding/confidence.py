"""Margins -> the probability that the answer is right, where a calibration exists.

No calibration for this very model and these options means no number: the margins stay, a
probability is not invented.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field, model_validator

from laser_tools.grounding.risk import ErrorBounds
from laser_tools.grounding.stored import read_fitted
from laser_tools.options import SHAPE_EVERY_ANSWER, SHAPE_LASER_ANSWERS, LaserOptions, PromptOptions
from laser_tools.schema import Frozen, GroundedAnswer, MethodName, Said, TokenMargin

LOOK_FEATURES = frozenset({"evidence_share", "vaq"})
"""Features of where LASER looked, not of how the answer was decoded."""

_WHOLE = ("plain", "direct")
"""Routes whose answers are those of the whole image."""

ANY_ROUTE = "any"
"""The key of a logistic that serves every route without one of its own."""


def features(answer: GroundedAnswer) -> dict[str, float]:
    """Named numbers that say how clearly `answer` won; empty if no token was decided.

    Units: logits (margins), natural logarithm (log probabilities), shares of the map's mass. Every
    answer has all of them: 0 stands for what its route does not have.
    """
    if not answer.margins:
        return {}
    return {
        **_margin_features(answer.margins),
        **_vat_features(answer.margins),
        **_look_features(answer),
        **_opinion_features(answer),
        **_begin_features(answer),
        **_short_features(answer),
    }


def _margin_features(margins: Sequence[TokenMargin]) -> dict[str, float]:
    by = [m.margin for m in margins]
    logs = [math.log(max(m.probability, 1e-12)) for m in margins]
    return {
        "margin_first": by[0],
        "margin_min": min(by),
        "log_probability_sum": sum(logs),
        "log_probability_min": min(logs),
        "n_tokens": float(len(by)),
    }


def _vat_features(margins: Sequence[TokenMargin]) -> dict[str, float]:
    vat = [m.vat_margin for m in margins if m.vat_margin is not None] or [0.0]
    return {"vat_margin_first": vat[0], "vat_margin_min": min(vat)}


def _look_features(answer: GroundedAnswer) -> dict[str, float]:
    """The names are those of LOOK_FEATURES."""
    place = answer.localisation
    return {
        "evidence_share": max((e.score for e in answer.evidence), default=0.0),
        "vaq": place.vaq[place.layer_idx] if place and place.vaq else 0.0,
    }


def _opinion_features(answer: GroundedAnswer) -> dict[str, float]:
    """Agreement with the whole image's answer and how clearly that won, where it is known."""
    if answer.plain is not None:
        agrees = answer.plain.answer.casefold() == answer.answer.casefold()
        margins = answer.plain.margins
    else:  # such an answer is that of the whole image, or there was no second opinion
        agrees = answer.route in _WHOLE
        margins = answer.margins if agrees else ()
    clear = min((m.margin for m in margins), default=0.0)
    return {"plain_agrees": float(agrees), "plain_margin_min": clear}


def _begin_features(answer: GroundedAnswer) -> dict[str, float]:
    """Whether the whole image's answer would begin alike, and how clearly; known from the look."""
    begin, alike = _beginning(answer), _begins_alike(answer)
    margin = begin.margin if begin else 0.0
    return {
        "begins_alike": float(alike),
        "begin_margin": margin,
        "alike_begin_margin": margin if alike else 0.0,
    }


def _short_features(answer: GroundedAnswer) -> dict[str, float]:
    """The same of answers of one token: a word wins by other margins than a spelled label does."""
    found = {
        "one_token": 1.0,
        "one_token_margin": answer.margins[0].margin,
        "one_token_vat_margin": answer.margins[0].vat_margin or 0.0,
        "one_token_alike": float(_begins_alike(answer)),
    }
    return found if len(answer.margins) == 1 else dict.fromkeys(found, 0.0)


def _beginning(answer: GroundedAnswer) -> TokenMargin | None:
    return answer.margins[0] if answer.route in _WHOLE else answer.plain_begins


def _begins_alike(answer: GroundedAnswer) -> bool:
    begin = _beginning(answer)
    return begin is not None and begin.token.casefold() == answer.margins[0].token.casefold()


def second(answer: GroundedAnswer) -> GroundedAnswer | None:
    """The whole image's answer in place of `answer`, if it is another."""
    plain = answer.plain
    if plain is None or not plain.answer or plain.answer.casefold() == answer.answer.casefold():
        return None
    return answer.model_copy(
        update={
            "answer": plain.answer,
            "margins": plain.margins,
            "plain": Said(answer=answer.answer, margins=answer.margins),
            "route": "kept",
            "crop_boxes": (),
        }
    )


class Logistic(Frozen):
    """probability = sigmoid(intercept + sum of weight * (feature - mean) / scale)."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float

    @model_validator(mode="after")
    def _same_length(self) -> Logistic:
        if not len(self.mean) == len(self.scale) == len(self.weights):
            raise ValueError("mean, scale and weights must have the same length.")
        if any(scale <= 0 for scale in self.scale):
            raise ValueError("Every scale must be above zero.")
        return self

    def probability(self, values: Sequence[float]) -> float:
        """The probability for feature `values`, in the order the weights have."""
        pieces = zip(values, self.mean, self.scale, self.weights, strict=True)
        logit = self.intercept + sum(w * (x - m) / s for x, m, s, w in pieces)
        return 0.5 * (1.0 + math.tanh(0.5 * logit))


class ErrorLevel(Frozen):
    """At one `max_error`: the least confidence, and how that went on answers not seen before."""

    max_error: float
    threshold: float | None  # None: no threshold keeps to it, every answer is withheld
    answered: float  # share of the questions that got an answer
    error: float | None  # share of those answers that were wrong; None without any


class HeldOut(Frozen):
    """Quality of the fit on `n` answers of the same split that it had not seen."""

    n: int
    ece: float
    auroc: float | None  # None: all right, or all wrong
    auroc_softmax: float | None  # the answer's softmax probability, on the same items
    levels: tuple[ErrorLevel, ...] = ()


class Calibration(Frozen):
    """Fitted on `n` items of `split` for the model whose safetensors hash to `model_hash`.

    `options` are those that the items were asked with. `error_bounds` are found on other items of
    the split, per method, as an answer's confidence depends on the method's routes.
    """

    model_hash: str
    n: int
    split: str
    options: LaserOptions
    features: tuple[str, ...]
    routes: dict[str, Logistic]  # a route's name, or ANY_ROUTE
    direct_margin: float | None = None  # plain answers at least so clear need no second look
    again_margin: float | None = None  # verified ones less clear are looked for again, in the crop
    error_bounds: dict[MethodName, ErrorBounds] = Field(default_factory=dict)
    held_out: HeldOut | None = None

    @model_validator(mode="after")
    def _complete(self) -> Calibration:
        if any(len(logistic.weights) != len(self.features) for logistic in self.routes.values()):
            raise ValueError("Every logistic needs one weight per feature.")
        return self

    @classmethod
    def load(cls, path: Path, model_hash: str) -> Calibration | None:
        """The calibration at `path`, or None if there is none or it is another model's.

        Raises ModelUnavailable for a file that is damaged or lacks what is needed.
        """
        found = read_fitted(cls, path, "laser-tools calibrate")
        return found if found and found.model_hash == model_hash else None

    def holds_for(self, method: MethodName, options: PromptOptions) -> bool:
        """True if answers by `method` under `options` are like those it was fitted on."""
        shaping = SHAPE_EVERY_ANSWER | (frozenset() if method == "plain" else SHAPE_LASER_ANSWERS)
        fitted, given = self.options.model_dump(), options.model_dump()
        return all(name in given and given[name] == fitted[name] for name in shaping)

    def worth(self, values: Mapping[str, float], route: str, *, says_none: bool) -> float:
        """The measure by which the likelier of two answers is chosen.

        "Nothing" is the better answer where that of a claim is below one half; as much is known of
        an answer without a probability.
        """
        sure = None if says_none else self.probability(values, route)
        return 0.5 if sure is None else sure

    def probability(self, values: Mapping[str, float], route: str) -> float | None:
        """The probability for the named `values`; None if route or a feature is not covered.

        An infinite margin, of a token that had no rival, is not covered.
        """
        logistic = self.routes.get(route) or self.routes.get(ANY_ROUTE)
        if logistic is None or not set(self.features) <= set(values):
            return None
        chosen = [values[name] for name in self.features]
        return logistic.probability(chosen) if all(map(math.isfinite, chosen)) else None
