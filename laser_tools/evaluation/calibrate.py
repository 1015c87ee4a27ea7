"""Fit the gate, the logistic that turns margins into a probability, and the bounds of its errors.

Each on questions of its own (split.py): the fit sees two fifths, the bounds are found on two
fifths that it has not seen, and the last fifth, which neither has seen, gives the reported figures.
What is stored is the fit that was measured, not a later one on everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from laser_tools.errors import InvalidRequest, MissingExtra
from laser_tools.evaluation import metrics
from laser_tools.evaluation.again import ALWAYS, fit_again_margin, looked_again
from laser_tools.evaluation.arms import BATCH_SIZE, Arm, Outcome, run_arm
from laser_tools.evaluation.ask import Ask
from laser_tools.evaluation.batches import batches
from laser_tools.evaluation.benchmarks.base import Item, Score, exact
from laser_tools.evaluation.gate import fit_direct_margin, gated
from laser_tools.evaluation.judged import Judged, Pair
from laser_tools.evaluation.report import softmax_confidence
from laser_tools.evaluation.risk import Sure, error_bounds, error_level
from laser_tools.evaluation.split import only, parts_of
from laser_tools.grounding.abstain import abstention
from laser_tools.grounding.confidence import (
    ANY_ROUTE,
    Calibration,
    HeldOut,
    Logistic,
    features,
    second,
)
from laser_tools.options import LaserOptions
from laser_tools.schema import MethodName

FILE_NAME = "calibration.json"
CALIBRATED: tuple[MethodName, ...] = ("plain", "laser")
LEVELS = (0.01, 0.02, 0.05, 0.1)  # of `max_error`, in reports
MIN_RARER = 50  # a route with fewer right, or fewer wrong, answers shares ANY_ROUTE
SHRINKAGE = 0.1  # scikit-learn's C; 1.0 ranked unseen validation answers worse (AUROC .950, .955)
MIN_ANSWERS = 60
MIN_QUESTIONS = 150  # of which two in five are fitted on


def check_enough(n: int) -> None:
    """Refuse too few questions before they are asked. Raises InvalidRequest."""
    if n < MIN_QUESTIONS:
        raise InvalidRequest(
            f"A calibration needs at least {MIN_QUESTIONS} questions, better 200: there are {n}."
        )


def judge(
    ask: Ask,
    items: Iterable[Item],
    options: LaserOptions,
    progress: Callable[[int], object] = lambda done: None,
    score: Score = exact,
) -> list[Pair]:
    """Per item its plain and its LASER answer, in the order of the items."""
    pairs: list[Pair] = []
    for batch in batches(items, BATCH_SIZE):
        pictures = [item.picture for item in batch]
        plain = run_arm(ask, Arm("plain", options, "plain"), batch, score)
        laser = _looked(ask, batch, options, score)
        if options.again_margin == "fitted":
            always = options.model_copy(update={"again_margin": ALWAYS})
            closer = _looked(ask, batch, always, score)
            laser = [replace(a, closer=b) for a, b in zip(laser, closer, strict=True)]
        pairs += [
            (_judged(a, name), replace(b, picture=name))
            for a, b, name in zip(plain, laser, pictures, strict=True)
        ]
        progress(len(batch))
    return pairs


def _looked(ask: Ask, batch: Sequence[Item], options: LaserOptions, score: Score) -> list[Judged]:
    """LASER's answers, with the whole image's beside them."""
    outcomes = run_arm(ask, Arm("laser", options, "laser"), batch, score)
    return [
        replace(_judged(outcome), second=_second(item, outcome, score, options))
        for item, outcome in zip(batch, outcomes, strict=True)
    ]


def _judged(outcome: Outcome, picture: str = "") -> Judged:
    result = outcome.result
    found, softmax = features(result), softmax_confidence(outcome)
    return Judged(result.route, found, softmax, outcome.right, bool(result.abstain), picture)


def _second(item: Item, outcome: Outcome, score: Score, options: LaserOptions) -> Judged | None:
    """The whole image's answer in place of LASER's, judged."""
    found = second(outcome.result)
    if found is None:
        return None
    other = found.model_copy(update={"abstain": abstention(found.answer, options)})
    return _judged(replace(outcome, result=other, score=score(item, other)))


def calibrate(
    pairs: Sequence[Pair], model_hash: str, split: str, options: LaserOptions
) -> Calibration:
    """The calibration of `model_hash` from `judge`'s answers under `options`.

    The gate and the margin for another look are fitted where the options leave them open. Held-out
    figures are of LASER's answers as these let them through. Raises InvalidRequest on too few
    answers, or if none was wrong; MissingExtra without scikit-learn.
    """
    parts = parts_of(pairs)
    fitted, unseen = only("fit", pairs, parts), only("threshold", pairs, parts)
    fit = _fitted(fitted, model_hash, split, options)
    bounds = {
        method: error_bounds(sure(fit, method, fitted), sure(fit, method, unseen))
        for method in CALIBRATED
    }
    fit = fit.model_copy(update={"error_bounds": bounds})
    return fit.model_copy(update={"held_out": held_out(fit, only("report", pairs, parts))})


def _fitted(
    pairs: Sequence[Pair], model_hash: str, split: str, options: LaserOptions
) -> Calibration:
    """Gate, margin for another look and logistics, without bounds."""
    again = fit_again_margin(pairs) if options.again_margin == "fitted" else None
    pairs = [looked_again(pair, again) for pair in pairs]
    margin = fit_direct_margin(pairs) if options.direct_margin == "fitted" else None
    laser = usable(given("laser", pairs, margin))
    right, wrong = _counts(laser)
    if len(laser) < MIN_ANSWERS or not right or not wrong:
        raise InvalidRequest(
            f"A calibration needs at least {MIN_ANSWERS} answers to fit on, right and wrong ones: "
            f"there are {right} right and {wrong} wrong. Two questions in five are fitted on: ask "
            "more of them."
        )
    names = tuple(laser[0].features)
    direct = [answer for answer in given("laser", pairs, margin) if answer.route == "direct"]
    seconds = [laser.second for _, laser in pairs if laser.second]
    by_route = _by_route([*direct, *seconds, *(answer for pair in pairs for answer in pair)])
    routes = {ANY_ROUTE: _logistic(laser, names)}
    routes |= {route: _logistic(group, names) for route, group in by_route.items()}
    return Calibration(
        model_hash=model_hash,
        n=len(laser),
        split=split,
        options=options,
        features=names,
        routes=routes,
        direct_margin=margin,
        again_margin=again,
    )


def given(method: MethodName, pairs: Iterable[Pair], direct_margin: float | None) -> list[Judged]:
    """The answers that a method gives: LASER's as its gate lets them through."""
    if method == "plain":
        return [plain for plain, _ in pairs]
    return [gated(pair, direct_margin) for pair in pairs]


def surer(fit: Calibration, answer: Judged) -> Judged:
    """The answer, or the whole image's if that is likelier to be right; as the engine chooses."""
    other = answer.second
    if other is None or fit.options.second_opinion != "choose":
        return answer
    ours, theirs = (fit.worth(a.features, a.route, says_none=a.abstained) for a in (answer, other))
    return other if theirs > ours else answer


def usable(answers: Iterable[Judged]) -> list[Judged]:
    """Answers that say something, with finite features (a sole choice has an infinite margin)."""
    said = [a for a in answers if a.features and not a.abstained]
    return [a for a in said if np.isfinite(list(a.features.values())).all()]


def _counts(answers: Sequence[Judged]) -> tuple[int, int]:
    """Numbers of right and of wrong answers."""
    right = sum(answer.right for answer in answers)
    return right, len(answers) - right


def _by_route(answers: Iterable[Judged]) -> dict[str, list[Judged]]:
    """The routes that have answers enough for a logistic of their own."""
    groups: dict[str, list[Judged]] = {}
    for answer in usable(answers):
        groups.setdefault(answer.route, []).append(answer)
    return {route: group for route, group in groups.items() if min(_counts(group)) >= MIN_RARER}


def _logistic(answers: Sequence[Judged], names: Sequence[str]) -> Logistic:
    """Logistic regression on standardised features, with L2 (scikit-learn)."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise MissingExtra("Calibration", "engine") from None
    matrix = np.array([[answer.features[name] for name in names] for answer in answers])
    scaler = StandardScaler().fit(matrix)  # gives a constant feature the scale 1
    model = LogisticRegression(C=SHRINKAGE, max_iter=1000)
    model.fit(scaler.transform(matrix), [answer.right for answer in answers])
    return Logistic(
        mean=tuple(scaler.mean_.tolist()),
        scale=tuple(scaler.scale_.tolist()),
        weights=tuple(model.coef_[0].tolist()),
        intercept=float(model.intercept_[0]),
    )


def sure(fit: Calibration, method: MethodName, pairs: Iterable[Pair]) -> Sure:
    """The answers that `method` gives and that have a confidence."""
    looked = [looked_again(pair, fit.again_margin) for pair in pairs]
    answers = usable(surer(fit, answer) for answer in given(method, looked, fit.direct_margin))
    found = [(fit.probability(answer.features, answer.route), answer) for answer in answers]
    covered = [(confidence, answer) for confidence, answer in found if confidence is not None]
    return Sure(
        confidences=np.array([confidence for confidence, _ in covered], dtype=float),
        right=np.array([answer.right for _, answer in covered], dtype=bool),
        softmax=np.array([answer.softmax for _, answer in covered], dtype=float),
    )


def held_out(fit: Calibration, unseen: Sequence[Pair]) -> HeldOut | None:
    """The figures of LASER's answers on questions that neither fit nor bounds have seen."""
    found, bounds = sure(fit, "laser", unseen), fit.error_bounds["laser"]
    if not found.n:
        return None
    return HeldOut(
        n=found.n,
        ece=metrics.ece(found.confidences, found.right),
        auroc=metrics.auroc(found.confidences, found.right),
        auroc_softmax=metrics.auroc(found.softmax, found.right),
        levels=tuple(error_level(level, bounds, found, len(unseen)) for level in LEVELS),
    )


def store(calibration: Calibration, folder: Path) -> Path:
    """Write readable JSON beside the model; returns the file."""
    path = folder / FILE_NAME
    path.write_text(calibration.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path
