"""Figures of a calibration, on questions that neither fit nor thresholds have seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from laser_tools.evaluation import metrics
from laser_tools.evaluation.again import looked_again
from laser_tools.evaluation.calibrate import given, sure
from laser_tools.evaluation.judged import Pair
from laser_tools.evaluation.report import percent
from laser_tools.evaluation.risk import Sure
from laser_tools.evaluation.split import only, parts_of
from laser_tools.grounding.confidence import Calibration, HeldOut
from laser_tools.schema import Frozen

CURVE_POINTS = 50

Interval = tuple[float, float]
Curve = tuple[tuple[float, float], ...]
"""Points (share of the answers given, share of those that are wrong), the surest answers first."""


class FitReport(Frozen):
    """LASER's answers on the report's part of the calibration data.

    Intervals are of 95 %, by bootstrap over answers; None where all were right, or all wrong.
    """

    model: str
    data: str
    questions: dict[str, int]  # by part
    held_out: HeldOut
    abstained: int  # of the report's questions: the model itself said that there is no answer
    ece_interval: Interval | None
    auroc_gain: float | None  # AUROC of the confidence minus that of the softmax probability
    auroc_gain_interval: Interval | None
    bins: tuple[metrics.ReliabilityBin, ...]
    risk_coverage: Curve
    risk_coverage_softmax: Curve


def fit_report(fit: Calibration, pairs: Sequence[Pair], model: str) -> FitReport | None:
    """The report of a fit from the very `pairs` that it was made of; None without any answer."""
    parts = parts_of(pairs)
    unseen = only("report", pairs, parts)
    if fit.held_out is None:
        return None
    found = sure(fit, "laser", unseen)
    looked = [looked_again(pair, fit.again_margin) for pair in unseen]
    return FitReport(
        model=model,
        data=fit.split,
        questions={part: parts.count(part) for part in ("fit", "threshold", "report")},
        held_out=fit.held_out,
        abstained=sum(answer.abstained for answer in given("laser", looked, fit.direct_margin)),
        ece_interval=metrics.bootstrap(
            lambda rows: metrics.ece(found.confidences[rows], found.right[rows]), found.n
        ),
        auroc_gain=_gain(found, np.arange(found.n)),
        auroc_gain_interval=metrics.bootstrap(lambda rows: _gain(found, rows), found.n),
        bins=tuple(metrics.reliability(found.confidences, found.right)),
        risk_coverage=risk_coverage(found.confidences, found.right),
        risk_coverage_softmax=risk_coverage(found.softmax, found.right),
    )


def _gain(found: Sure, rows: np.ndarray) -> float | None:
    ours = metrics.auroc(found.confidences[rows], found.right[rows])
    softmax = metrics.auroc(found.softmax[rows], found.right[rows])
    return None if ours is None or softmax is None else ours - softmax


def risk_coverage(scores: np.ndarray, right: np.ndarray) -> Curve:
    """The share of wrong answers among the surest ones, for up to CURVE_POINTS shares of them."""
    wrong = ~right[np.argsort(-scores, kind="stable")]
    n = len(wrong)
    counts = np.unique(np.linspace(1, n, min(n, CURVE_POINTS)).round().astype(int))
    errors = np.cumsum(wrong)[counts - 1] / counts
    return tuple(zip((counts / n).tolist(), errors.tolist(), strict=True))


def markdown(report: FitReport) -> str:
    """The report as a page."""
    held, n = report.held_out, report.questions
    facts = [
        ("ECE", f"{held.ece:.3f}{_within(report.ece_interval)}"),
        ("AUROC of the confidence", _number(held.auroc)),
        ("AUROC of the softmax probability", _number(held.auroc_softmax)),
        ("difference", f"{_number(report.auroc_gain)}{_within(report.auroc_gain_interval)}"),
        ("no answer by the model's own word", f"{report.abstained} of {n['report']} questions"),
    ]
    return "\n".join(
        [
            f"# Calibration of {report.model} on {report.data}",
            "",
            f"Fitted on {n['fit']} questions, thresholds found on {n['threshold']} others; every "
            f"figure below is of {held.n} answers to the {n['report']} questions left, with 95 % "
            "intervals (bootstrap).",
            "",
            *_table(["LASER's answers", ""], facts),
            "",
            *_table(["`max_error`", "least confidence", "answered, %", "wrong, %"], _levels(held)),
            "",
        ]
    )


def _levels(held: HeldOut) -> list[tuple[str, ...]]:
    return [
        (
            f"{100 * at.max_error:g} %",
            "none: all withheld" if at.threshold is None else f"{at.threshold:.3f}",
            percent(at.answered),
            percent(at.error),
        )
        for at in held.levels
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _within(interval: Interval | None) -> str:
    return "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
