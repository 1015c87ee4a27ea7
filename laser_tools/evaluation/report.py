"""Judged answers -> the bench's report: plain data, written as JSON, read back the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pydantic import Field

from laser_tools.evaluation import metrics
from laser_tools.evaluation.arms import Outcome
from laser_tools.schema import Frozen

OVERALL = "overall"
SPLIT_TYPES = ("counting",)  # their details ask different things of a crop


class MethodReport(Frozen):
    """One method. Every mapping goes by question type and `overall`, unless it says otherwise.

    Of counting there is "counting (colour)" and so on beside "counting".
    """

    n: dict[str, int]
    accuracy: dict[str, float]
    interval: dict[str, tuple[float, float]]  # 95 % Wilson
    box_hit_rate: dict[str, float]  # of the answers that cropped; see metrics.box_hit
    routes: dict[str, int]  # by route
    confidence: dict[str, float] = Field(default_factory=dict)  # mean, where answers have one
    abstained: dict[str, float] = Field(default_factory=dict)  # share
    said_so: dict[str, float] = Field(default_factory=dict)  # right or abstained: where nothing is
    seconds: dict[str, float]  # by stage, per question in a batch; `wall` is measured outside


class CalibrationReport(Frozen):
    """ECE and AUROC of LASER's confidence. None: no calibration, or one class only."""

    n: int
    ece: float | None
    auroc: float | None
    auroc_softmax: float | None  # the product of the answer's token probabilities instead
    bins: tuple[metrics.ReliabilityBin, ...] = ()


class Paired(Frozen):
    """One method against another on the same questions."""

    wins: int  # the one right, the other wrong
    losses: int
    p: float  # of metrics.sign_test


class TimeRatio(Frozen):
    """LASER's seconds over plain's for the same questions, asked one at a time."""

    n: int
    mean: float  # of LASER's seconds over the mean of plain asking's
    median: float  # of the questions' own ratios
    laser_s: float  # mean
    plain_s: float  # mean


class Claim(Frozen):
    """Something to be shown, and whether it was: see `evaluation/claims.py`."""

    value: float
    low: float | None = None  # 95 %
    high: float | None = None
    p: float | None = None
    wanted: str
    met: bool
    at: str = ""  # the question type that decides


class BenchReport(Frozen):
    """The JSON that `laser-tools bench` writes."""

    n: int
    seed: int
    split: str
    model: str
    options: dict[str, object]
    fixed_layer: int | None
    best_layer: int | None = None
    validation_by_layer: tuple[float, ...] = ()  # share right with each layer fixed
    methods: dict[str, MethodReport]
    gap_closed: dict[str, float | None] = Field(default_factory=dict)
    laser_against: dict[str, dict[str, Paired]] = Field(default_factory=dict)  # method, then type
    attention_aggregation: dict[str, float] = Field(default_factory=dict)
    box_hit_rate: float | None = None  # LASER's, over all types
    layers: dict[str, list[int]] = Field(default_factory=dict)  # counts, index = layer
    calibration: CalibrationReport | None = None
    time_ratio: dict[str, TimeRatio] = Field(default_factory=dict)  # by route and overall
    claims: dict[str, Claim] = Field(default_factory=dict)


def method_report(outcomes: Sequence[Outcome]) -> MethodReport:
    """Accuracy with intervals, hits, routes and seconds of one method's answers."""
    groups = by_group(outcomes)
    scores = {name: sum(outcome.score for outcome in group) for name, group in groups.items()}
    return MethodReport(
        n={name: len(group) for name, group in groups.items()},
        accuracy={name: scores[name] / len(group) for name, group in groups.items()},
        interval={name: metrics.wilson(scores[name], len(group)) for name, group in groups.items()},
        box_hit_rate=hit_rates(groups),
        routes=dict(Counter(outcome.result.route for outcome in outcomes)),
        confidence=_confidence(groups),
        abstained={name: _share(bool(o.result.abstain) for o in g) for name, g in groups.items()},
        said_so={name: _share(_says_so(o) for o in g) for name, g in groups.items()},
        seconds=_seconds(outcomes),
    )


def _share(hits: Iterable[bool]) -> float:
    counted = list(hits)
    return sum(counted) / len(counted)


def _says_so(outcome: Outcome) -> bool:
    return outcome.right or bool(outcome.result.abstain)


def _confidence(groups: Mapping[str, Sequence[Outcome]]) -> dict[str, float]:
    """Mean confidence of the answers that have one."""
    given = {
        name: [o.result.confidence for o in group if o.result.confidence is not None]
        for name, group in groups.items()
    }
    return {name: sum(sure) / len(sure) for name, sure in given.items() if sure}


def by_group(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Outcomes by question type in order of appearance, and all of them as `overall`.

    A type of SPLIT_TYPES is followed by its parts.
    """
    types = dict.fromkeys(outcome.group for outcome in outcomes)
    groups: dict[str, list[Outcome]] = {}
    for name in types:
        groups[name] = [outcome for outcome in outcomes if outcome.group == name]
        groups |= _by_detail(groups[name]) if name in SPLIT_TYPES else {}
    return {**groups, OVERALL: list(outcomes)}


def _by_detail(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.detail):
        groups.setdefault(f"{outcome.group} ({outcome.detail})", []).append(outcome)
    return groups


def hit_rates(groups: Mapping[str, Sequence[Outcome]]) -> dict[str, float]:
    """Share of hits among the answers that cropped and had something to find."""
    counted = {name: [o.hit for o in group if o.hit is not None] for name, group in groups.items()}
    return {name: sum(hits) / len(hits) for name, hits in counted.items() if hits}


def _seconds(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Mean seconds of a question by stage; a stage an answer skipped counts as 0 s."""
    stages = sorted({stage for outcome in outcomes for stage in outcome.result.timings_s})
    means = {
        stage: sum(outcome.result.timings_s.get(stage, 0.0) for outcome in outcomes) / len(outcomes)
        for stage in stages
    }
    return {**means, "wall": sum(outcome.wall_s for outcome in outcomes) / len(outcomes)}


def gaps(methods: Mapping[str, MethodReport]) -> dict[str, float | None]:
    """Share of the plain-to-oracle gap that LASER closes; {} unless all three were run."""
    if not {"plain", "laser", "oracle"} <= set(methods):
        return {}
    plain, laser, oracle = (methods[name].accuracy for name in ("plain", "laser", "oracle"))
    return {name: metrics.gap_closed(plain[name], laser[name], oracle[name]) for name in plain}


def laser_against(outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, dict[str, Paired]]:
    """LASER against every other method, item by item; {} without LASER."""
    laser = by_group(outcomes.get("laser", ()))
    others = {name: by_group(done) for name, done in outcomes.items() if name != "laser"}
    return {
        name: {kind: paired(laser[kind], groups[kind]) for kind in groups}
        for name, groups in others.items()
        if "laser" in outcomes
    }


def paired(one: Sequence[Outcome], other: Sequence[Outcome]) -> Paired:
    """One method against another on the same questions, in the same order."""
    pairs = [(a.right, b.right) for a, b in zip(one, other, strict=True)]
    wins, losses = pairs.count((True, False)), pairs.count((False, True))
    return Paired(wins=wins, losses=losses, p=metrics.sign_test(wins, losses))


def layer_counts(outcomes: Sequence[Outcome]) -> dict[str, list[int]]:
    """Number of questions per layer of the map's peak (index = layer), by question type."""
    counts: dict[str, list[int]] = {}
    for name, group in by_group(outcomes).items():
        places = [o.result.localisation for o in group if o.result.localisation is not None]
        if places:
            chosen = Counter(place.layer_idx for place in places)
            counts[name] = [chosen[layer] for layer in range(len(places[0].vaq))]
    return counts


def calibration_report(outcomes: Sequence[Outcome]) -> CalibrationReport:
    """ECE and AUROC of the confidence, and of the softmax probability of the same answers.

    Answers without a confidence are left out, unless none has one; so are those that abstain, as
    nothing is to be learned from the confidence 0 of "nothing".
    """
    answered = [outcome for outcome in outcomes if not outcome.result.abstain]
    given = [(outcome, outcome.result.confidence) for outcome in answered]
    covered = [(outcome, sure) for outcome, sure in given if sure is not None]
    counted = [outcome for outcome, _ in covered] or answered
    right = [outcome.right for outcome in counted]
    softmax = metrics.auroc([softmax_confidence(outcome) for outcome in counted], right)
    if not covered:
        return CalibrationReport(n=len(right), ece=None, auroc=None, auroc_softmax=softmax)
    confidences = [sure for _, sure in covered]
    bins = metrics.reliability(confidences, right)
    return CalibrationReport(
        n=len(right),
        ece=metrics.expected_calibration_error(bins),
        auroc=metrics.auroc(confidences, right),
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
    cells = [_cell(method, kind) for method in report.methods.values()]
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
        paired_table(report),
        claims_table(report.claims),
        "\n".join(_facts(report)),
    ]
    return "\n\n".join(part for part in parts if part)


def paired_table(report: BenchReport) -> str:
    """Table of counts: right by LASER alone, right by the other method alone; with p-values."""
    against = report.laser_against
    if not against:
        return ""
    kinds = list(next(iter(against.values())))
    rows = [["laser against", *against], ["---"] + ["---:"] * len(against)]
    rows += [[kind, *(_paired_cell(paired[kind]) for paired in against.values())] for kind in kinds]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def claims_table(claims: Mapping[str, Claim]) -> str:
    """Claim, value with interval, p, what was wanted, met or missed."""
    if not claims:
        return ""
    rows = [["claim", "found", "p", "wanted", ""], ["---", "---:", "---:", "---", "---"]]
    rows += [_claim_row(name, claim) for name, claim in claims.items()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _claim_row(name: str, claim: Claim) -> list[str]:
    value = f"{claim.value:.3f}"
    if claim.low is not None and claim.high is not None:
        value += f" [{claim.low:.3f}, {claim.high:.3f}]"
    where = f"{name} ({claim.at})" if claim.at else name
    p = "" if claim.p is None else f"{claim.p:.2g}"
    return [where, value, p, claim.wanted, "met" if claim.met else "**missed**"]


def _paired_cell(paired: Paired) -> str:
    return f"+{paired.wins} -{paired.losses}, p {paired.p:.2g}"


def _facts(report: BenchReport) -> list[str]:
    lines = [
        f"{name:<12} {method.seconds['wall']:.3f} s a question in batches, routes {method.routes}"
        for name, method in report.methods.items()
    ]
    if report.best_layer is not None:
        by_layer = ", ".join(percent(share) for share in report.validation_by_layer)
        lines.append(f"best-layer {report.best_layer}; right on validation by layer, %: {by_layer}")
    shares = report.attention_aggregation.items()
    if shares:
        lines.append(
            "map mass in the true box, %: " + ", ".join(f"{k} {percent(v)}" for k, v in shares)
        )
        lines.append(f"box hit rate, %: {percent(report.box_hit_rate)}")
    if report.calibration is not None:
        lines.append(calibration_line(report.calibration))
    for route, time in report.time_ratio.items():
        lines.append(
            f"LASER/plain time, one at a time, {route}: {time.mean:.2f} "
            f"(median {time.median:.2f}; {time.laser_s:.3f} s / {time.plain_s:.3f} s, n = {time.n})"
        )
    return lines


def calibration_line(calibration: CalibrationReport) -> str:
    """ECE and AUROCs; a dash for what is not defined."""
    figures = (calibration.ece, calibration.auroc, calibration.auroc_softmax)
    shown = ["-" if v is None else f"{v:.3f}" for v in figures]
    return "ECE {}, AUROC of confidence {}, of softmax {}".format(*shown)
