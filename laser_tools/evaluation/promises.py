"""A confidence held to what it promises: `max_error` over calibrations drawn anew, shifts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from laser_tools.evaluation import metrics
from laser_tools.evaluation.arms import Outcome
from laser_tools.evaluation.calibrate import LEVELS, calibrate, sure
from laser_tools.evaluation.judged import Pair
from laser_tools.evaluation.report import calibration_report, percent
from laser_tools.evaluation.risk import error_level
from laser_tools.options import LaserOptions
from laser_tools.schema import Frozen

DRAWS = 20
MAX_ABOVE = 0.05  # of the draws: `max_error` is kept with 95 % confidence
MAX_SHIFTED_ECE = 0.05


class LevelKept(Frozen):
    """One `max_error` on the test's answers, by calibrations of other halves of the same data."""

    answered: float  # share of the questions, the mean over the calibrations
    errors: tuple[float, ...]  # share of wrong answers, of each calibration that answered any
    above: int  # of these, how many are above the level
    met: bool  # false as well where no calibration answered anything


class Shifted(Frozen):
    """Answers to questions on scenes that were changed in a way no training or fit has seen."""

    n: int
    accuracy: float
    ece: float | None
    low: float | None  # of the ECE, 95 % by bootstrap over answers
    high: float | None
    met: bool


class Promises(Frozen):
    """By `max_error`, and by shift."""

    risk: dict[str, LevelKept]
    shift: dict[str, Shifted]


class ConfidenceReport(Frozen):
    """`laser-tools bench confidence`: of `n` questions each, and `shifted` under each shift."""

    model: str
    n: int
    shifted: int
    seed: int
    calibration: Promises


def risk(
    seen: Sequence[Pair], test: Sequence[Pair], options: LaserOptions, seed: int = 0
) -> dict[str, LevelKept]:
    """Per level what `DRAWS` calibrations on random halves of `seen` let through on `test`."""
    rng = np.random.default_rng(seed)
    halves = [rng.permutation(len(seen))[: len(seen) // 2] for _ in range(DRAWS)]
    fits = [calibrate([seen[i] for i in half], "", "validation", options) for half in halves]
    found = [(fit.error_bounds["laser"], sure(fit, "laser", test)) for fit in fits]
    kept: dict[str, LevelKept] = {}
    for level in LEVELS:
        rows = [error_level(level, bounds, answers, len(test)) for bounds, answers in found]
        errors = tuple(row.error for row in rows if row.error is not None)
        above = sum(error > level for error in errors)
        kept[f"{level:g}"] = LevelKept(
            answered=float(np.mean([row.answered for row in rows])),
            errors=errors,
            above=above,
            met=bool(errors) and above <= MAX_ABOVE * DRAWS,
        )
    return kept


def shifted(outcomes: Sequence[Outcome]) -> Shifted:
    """The calibration of answers under one shift."""
    found = calibration_report(outcomes)
    given = [(o.result.confidence, o.right) for o in outcomes if not o.result.abstain]
    covered = np.array([(sure, right) for sure, right in given if sure is not None])
    interval = _interval(covered) if found.ece is not None else None
    return Shifted(
        n=found.n,
        accuracy=float(np.mean([o.score for o in outcomes])),
        ece=found.ece,
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        met=found.ece is not None and found.ece <= MAX_SHIFTED_ECE,
    )


def _interval(covered: np.ndarray) -> tuple[float, float] | None:
    """Of the ECE of answers (n, 2), each a confidence and whether it was right."""
    sure, right = covered.T
    return metrics.bootstrap(lambda rows: metrics.ece(sure[rows], right[rows] > 0), len(covered))


def summary(found: Promises) -> str:
    """Both as Markdown tables."""
    lines = ["| `max_error` | answered | worst error | above | met |", "|---|---:|---:|---:|---|"]
    worst = {name: max(kept.errors, default=None) for name, kept in found.risk.items()}
    lines += [
        f"| {level} | {percent(kept.answered)} | {percent(worst[level])}"
        f" | {kept.above} of {len(kept.errors)} | {_yes(kept.met)} |"
        for level, kept in found.risk.items()
    ]
    lines += ["", "| shift | n | right | ECE | met |", "|---|---:|---:|---:|---|"]
    lines += [
        f"| {name} | {at.n} | {percent(at.accuracy)} | {_within(at)} | {_yes(at.met)} |"
        for name, at in found.shift.items()
    ]
    return "\n".join(lines)


def _within(found: Shifted) -> str:
    if found.ece is None or found.low is None or found.high is None:
        return "-"
    return f"{found.ece:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _yes(met: bool) -> str:
    return "yes" if met else "no"
