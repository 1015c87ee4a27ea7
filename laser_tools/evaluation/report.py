"""Judged answers -> the bench's report: plain data, written as JSON, read back the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from laser_tools.evaluation import metrics
from laser_tools.evaluation.arms import Outcome
from laser_tools.schema import Frozen

OVERALL = "overall"


class MethodReport(Frozen):
    """One method. Every mapping goes by question type and `overall`, unless it says otherwise."""

    n: dict[str, int]
    accuracy: dict[str, float]
    interval: dict[str, tuple[float, float]]  # 95 % Wilson
    box_hit_rate: dict[str, float]  # of the answers that cropped; see metrics.box_hit
    routes: dict[str, int]  # by route
    seconds: dict[str, float]  # by stage, per question in a batch; `wall` is measured outside


class CalibrationReport(Frozen):
    """How far LASER's confidence can be trusted. None: no calibration, or one class only."""

    n: int
    ece: float | None
    auroc: float | None
    auroc_softmax: float | None  # the product of the answer's token probabilities instead
    bins: tuple[metrics.ReliabilityBin, ...] = ()


class TimeRatio(Frozen):
    """LASER's seconds over plain's for the same questions, asked one at a time."""

    n: int
    mean: float  # of LASER's seconds over the mean of plain asking's
    median: float  # of the questions' own ratios
    laser_s: float  # mean
    plain_s: float  # mean


class BenchReport(Frozen):
    """What `laser-tools bench` writes."""

    n: int
    seed: int
    split: str
    model: str
    options: dict[str, object]
    fixed_layer: int | None
    methods: dict[str, MethodReport]
    gap_closed: dict[str, float | None] = Field(default_factory=dict)
    attention_aggregation: dict[str, float] = Field(default_factory=dict)
    box_hit_rate: float | None = None  # LASER's, over all types
    layers: dict[str, list[int]] = Field(default_factory=dict)  # counts, index = layer
    calibration: CalibrationReport | None = None
    time_ratio: dict[str, TimeRatio] = Field(default_factory=dict)  # by route and overall


def method_report(outcomes: Sequence[Outcome]) -> MethodReport:
    """Accuracy with intervals, hits, routes and seconds of one method's answers."""
    groups = by_type(outcomes)
    rights = {name: sum(one.right for one in group) for name, group in groups.items()}
    return MethodReport(
        n={name: len(group) for name, group in groups.items()},
        accuracy={name: rights[name] / len(group) for name, group in groups.items()},
        interval={name: metrics.wilson(rights[name], len(group)) for name, group in groups.items()},
        box_hit_rate=hit_rates(groups),
        routes=dict(Counter(one.result.route for one in outcomes)),
        seconds=_seconds(outcomes),
    )


def by_type(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Outcomes by question type in order of appearance, and all of them as `overall`."""
    groups: dict[str, list[Outcome]] = {}
    for one in outcomes:
        groups.setdefault(one.type, []).append(one)
    return {**groups, OVERALL: list(outcomes)}


def hit_rates(groups: Mapping[str, Sequence[Outcome]]) -> dict[str, float]:
    """Share of hits among the answers that cropped and had something to find."""
    counted = {name: [o.hit for o in group if o.hit is not None] for name, group in groups.items()}
    return {name: sum(hits) / len(hits) for name, hits in counted.items() if hits}


def _seconds(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Mean seconds of a question by stage; a stage an answer skipped counts as 0 s."""
    stages = sorted({stage for one in outcomes for stage in one.result.timings_s})
    means = {
        stage: sum(one.result.timings_s.get(stage, 0.0) for one in outcomes) / len(outcomes)
        for stage in stages
    }
    return {**means, "wall": sum(one.wall_s for one in outcomes) / len(outcomes)}


def gaps(methods: Mapping[str, MethodReport]) -> dict[str, float | None]:
    """Share of the plain-to-oracle gap that LASER closes; {} unless all three were run."""
    if not {"plain", "laser", "oracle"} <= set(methods):
        return {}
    plain, laser, oracle = (methods[name].accuracy for name in ("plain", "laser", "oracle"))
    return {name: metrics.gap_closed(plain[name], laser[name], oracle[name]) for name in plain}


def layer_counts(outcomes: Sequence[Outcome]) -> dict[str, list[int]]:
    """How often each layer was chosen, by question type."""
    counts: dict[str, list[int]] = {}
    for name, group in by_type(outcomes).items():
        places = [o.result.localisation for o in group if o.result.localisation is not None]
        if places:
            chosen = Counter(place.layer_idx for place in places)
            counts[name] = [chosen[layer] for layer in range(len(places[0].vaq))]
    return counts


def calibration_report(outcomes: Sequence[Outcome]) -> CalibrationReport:
    """ECE and AUROC of the confidence, and of the softmax probability of the same answers."""
    right = [one.right for one in outcomes]
    softmax = metrics.auroc([softmax_confidence(one) for one in outcomes], right)
    sure = [one.result.confidence for one in outcomes if one.result.confidence is not None]
    if len(sure) < len(outcomes):
        return CalibrationReport(n=len(right), ece=None, auroc=None, auroc_softmax=softmax)
    bins = metrics.reliability(sure, right)
    return CalibrationReport(
        n=len(right),
        ece=metrics.expected_calibration_error(bins),
        auroc=metrics.auroc(sure, right),
        auroc_softmax=softmax,
        bins=tuple(bins),
    )


def softmax_confidence(outcome: Outcome) -> float:
    """Probability of the whole answer: the product over its tokens; 0 for an empty answer."""
    tokens = outcome.result.margins
    return float(np.prod([token.probability for token in tokens])) if tokens else 0.0


def markdown_table(report: BenchReport) -> str:
    """Accuracy per question type (%, 95 % interval) and method, for a README."""
    names = list(report.methods)
    types = list(next(iter(report.methods.values())).accuracy)
    head = ["question type", "n", *names, *(["gap closed"] if report.gap_closed else [])]
    rows = [head, ["---"] + ["---:"] * (len(head) - 1)]
    rows += [_table_row(report, kind) for kind in types]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _table_row(report: BenchReport, kind: str) -> list[str]:
    count = next(iter(report.methods.values())).n[kind]
    cells = [_cell(one, kind) for one in report.methods.values()]
    if report.gap_closed:
        cells.append(percent(report.gap_closed[kind]))
    return [kind, str(count), *cells]


def _cell(method: MethodReport, kind: str) -> str:
    low, high = method.interval[kind]
    return f"{percent(method.accuracy[kind])} [{percent(low)}, {percent(high)}]"


def percent(share: float | None) -> str:
    """One decimal, or a dash for what is not defined."""
    return "-" if share is None else f"{100 * share:.1f}"


def summary(report: BenchReport) -> str:
    """The whole report as text for a terminal."""
    parts = [
        f"{report.model} on MicroScenes {report.split}: {report.n} questions, seed {report.seed}",
        markdown_table(report),
        "\n".join(_facts(report)),
    ]
    return "\n\n".join(part for part in parts if part)


def _facts(report: BenchReport) -> list[str]:
    lines = [
        f"{name:<12} {method.seconds['wall']:.3f} s a question in batches, routes {method.routes}"
        for name, method in report.methods.items()
    ]
    shares = report.attention_aggregation.items()
    if shares:
        lines.append(
            "map mass in the true box, %: " + ", ".join(f"{k} {percent(v)}" for k, v in shares)
        )
        lines.append(f"box hit rate, %: {percent(report.box_hit_rate)}")
    if report.calibration is not None:
        lines.append(calibration_line(report.calibration))
    for route, one in report.time_ratio.items():
        lines.append(
            f"LASER/plain time, one at a time, {route}: {one.mean:.2f} (median {one.median:.2f}; "
            f"{one.laser_s:.3f} s / {one.plain_s:.3f} s, n = {one.n})"
        )
    return lines


def calibration_line(one: CalibrationReport) -> str:
    """ECE and AUROCs; a dash for what is not defined."""
    shown = ["-" if v is None else f"{v:.3f}" for v in (one.ece, one.auroc, one.auroc_softmax)]
    return "ECE {}, AUROC of confidence {}, of softmax {}".format(*shown)
