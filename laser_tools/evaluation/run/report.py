"""Lines -> the report of a run: plain data, the same however often it is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

from pydantic import Field

from laser_tools.evaluation.arms import Outcome
from laser_tools.evaluation.benchmarks.base import Benchmark, Scored
from laser_tools.evaluation.report import (
    OVERALL,
    CalibrationReport,
    Paired,
    calibration_report,
    layer_counts,
    method_report,
    paired,
)
from laser_tools.evaluation.run.lines import Line, Lines, Run
from laser_tools.schema import Frozen

COVERAGES = tuple(step / 20 for step in range(1, 21))


class MethodFigures(Frozen):
    """One method on the questions that every method answered. None: nothing to measure it on."""

    n: int
    errors: dict[str, int]  # by code, of all its questions
    accuracy: dict[str, float]  # mean score by group and overall
    interval: dict[str, tuple[float, float]]  # 95 % Wilson, too wide where scores are not 0 or 1
    official: dict[str, float]  # what the set's papers report
    hit: float | None  # crops that hold the evidence, of those where there is any
    aggregation: float | None  # mean share of the map in the true boxes
    seconds: float  # a question, in batches
    seconds_ratio: float | None  # to plain's
    passes: float | None  # forward passes a question
    routes: dict[str, int]
    calibration: CalibrationReport
    risk: tuple[tuple[float, float], ...] = ()  # (share answered, share wrong), surest first
    layers: dict[str, list[int]] = Field(default_factory=dict)  # counts by group, index = layer


class RunReport(Frozen):
    """The report that `laser-tools bench run` writes."""

    run: Run
    model: str
    n: int  # questions that every method answered
    broken_lines: int
    methods: dict[str, MethodFigures]
    silent: dict[str, dict[str, int]]  # methods that answered nothing, and their errors by code
    against_plain: dict[str, Paired]  # the method's wins and losses
    against_laser: dict[str, Paired]


def report_of(found: Lines, mine: Benchmark) -> RunReport:
    """The report of what a file holds; `mine` is the run's set, whose pictures are not needed."""
    assert found.run is not None
    answering = {line.method for line in found.lines.values() if line.judged}
    methods = [name for name in found.run.methods if name in answering]
    names = list(dict.fromkeys(name for name, method in found.lines if method in answering))
    common = [name for name in names if all(_answered(found, name, m) for m in methods)]
    lines = {m: [found.lines[name, m] for name in common] for m in methods}
    outcomes = {m: [line.outcome() for line in chosen] for m, chosen in lines.items()}
    plain_s = _seconds(outcomes["plain"]) if outcomes.get("plain") else None
    return RunReport(
        run=found.run,
        model=_model(found),
        n=len(common),
        broken_lines=found.broken,
        methods={
            m: _figures(chosen, outcomes[m], _errors(found, m), plain_s, mine)
            for m, chosen in lines.items()
            if chosen
        },
        silent={m: _errors(found, m) for m in found.run.methods if m not in answering},
        against_plain=_against("plain", outcomes),
        against_laser=_against("laser", outcomes),
    )


def _answered(found: Lines, name: str, method: str) -> bool:
    line = found.lines.get((name, method))
    return line is not None and line.judged is not None


def _model(found: Lines) -> str:
    """As the answers name it; a run at a worker learns it from them."""
    judged = (line.judged for line in found.lines.values() if line.judged)
    first = next(judged, None)
    assert found.run is not None
    return first.answer.model if first else found.run.model


def _errors(found: Lines, method: str) -> dict[str, int]:
    troubles = [line.error for line in found.lines.values() if line.method == method]
    return dict(Counter(trouble.code for trouble in troubles if trouble))


def _figures(
    lines: Sequence[Line],
    outcomes: Sequence[Outcome],
    errors: dict[str, int],
    plain_s: float | None,
    mine: Benchmark,
) -> MethodFigures:
    basic, seconds = method_report(outcomes), _seconds(outcomes)
    judged = [line.judged for line in lines if line.judged]
    scored = [
        Scored(line.item.item(), outcome.answer, outcome.score)
        for line, outcome in zip(lines, judged, strict=True)
    ]
    return MethodFigures(
        n=len(lines),
        errors=errors,
        accuracy=basic.accuracy,
        interval=basic.interval,
        official=dict(mine.summary(scored)),
        hit=basic.box_hit_rate.get(OVERALL),
        aggregation=_mean([outcome.mass for outcome in judged]),
        seconds=seconds,
        seconds_ratio=seconds / plain_s if plain_s else None,
        passes=_mean([outcome.passes for outcome in judged]),
        routes=basic.routes,
        calibration=calibration_report(outcomes),
        risk=risk_coverage(outcomes),
        layers=layer_counts(outcomes),
    )


def _seconds(outcomes: Sequence[Outcome]) -> float:
    return fmean(outcome.wall_s for outcome in outcomes)


def _mean(values: Sequence[float | None]) -> float | None:
    """Of those that there are; None without any."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def risk_coverage(outcomes: Sequence[Outcome]) -> tuple[tuple[float, float], ...]:
    """The share that is wrong among the surest answers; empty where an answer has no confidence."""
    sure = [(outcome.result.confidence, outcome.right) for outcome in outcomes]
    if any(confidence is None for confidence, _ in sure):
        return ()
    ranked = [right for _, right in sorted(sure, key=lambda pair: -(pair[0] or 0.0))]
    parts = [(share, ranked[: max(round(share * len(ranked)), 1)]) for share in COVERAGES]
    return tuple((share, part.count(False) / len(part)) for share, part in parts if part)


def _against(name: str, outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, Paired]:
    """Every other method against this one; {} where it was not asked."""
    if not outcomes.get(name):
        return {}
    return {m: paired(done, outcomes[name]) for m, done in outcomes.items() if m != name}


def groups_of(report: RunReport) -> list[str]:
    """The set's groups, the whole last."""
    return list(next(iter(report.methods.values())).accuracy) if report.methods else []
