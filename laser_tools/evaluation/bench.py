"""The MicroScenes bench: methods, fixed layers and the oracle on the same items."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast, get_args

import numpy as np

from laser_tools.errors import InvalidRequest
from laser_tools.evaluation import report
from laser_tools.evaluation.arms import BATCH_SIZE, Arm, Outcome, run_arm
from laser_tools.evaluation.batches import batches
from laser_tools.evaluation.benchmarks.base import Item, Score, exact
from laser_tools.evaluation.claims import claims
from laser_tools.evaluation.metrics import map_share
from laser_tools.evaluation.sweep import sweep
from laser_tools.options import LaserOptions
from laser_tools.schema import AnswerRequest, Box, GroundedAnswer, MethodName

METHODS = ("plain", "fixed-layer", "best-layer", "raw-attention", "laser", "oracle")
VARIANTS: Mapping[str, Mapping[str, object]] = {
    "one-crop": {"max_crops": 1, "again_margin": None},  # one look at one place
    "without-vat": {"alpha": 0.0},
}
"""LASER with some of its options changed: what those are good for."""
KNOWN = (*get_args(MethodName), *VARIANTS, "fixed-layer", "best-layer", "oracle")
FIXED_LAYER_SHARE = 14 / 32  # the layer most RefCOCO queries choose (arXiv 2602.04304)
TIMED_QUESTIONS = 48  # asked one at a time, for the time ratio


@dataclass(frozen=True)
class Maps:
    """One question's maps at the layer LASER chose: grids (rows, columns), >= 0, over `box`."""

    grids: Mapping[str, np.ndarray]  # "raw", "relative", "contrastive"
    box: Box


class Subject(Protocol):
    """The model under test, as the bench sees it."""

    @property
    def name(self) -> str: ...

    @property
    def n_layers(self) -> int: ...

    def ask(self, requests: Sequence[AnswerRequest], options: LaserOptions) -> list[GroundedAnswer]:
        """Answers in the order of the requests."""
        ...

    def direct_margin(self, options: LaserOptions) -> float | None:
        """The gate's threshold in logits; None without a gate."""
        ...

    def maps(self, items: Sequence[Item], options: LaserOptions) -> list[Maps]:
        """The attention maps of each item's question, in order."""
        ...


@dataclass(frozen=True)
class Setup:
    """Settings of one run. `fixed_layer` None is the layer at 14/32 of the model's depth.

    `validation_by_layer` is what `score_layers` found; only best-layer needs it. Raises
    InvalidRequest on a method that is not known.
    """

    split: str
    seed: int = 0
    methods: tuple[str, ...] = METHODS
    options: LaserOptions = field(default_factory=LaserOptions)
    fixed_layer: int | None = None
    batch_size: int = BATCH_SIZE
    timed: int = TIMED_QUESTIONS
    validation_by_layer: tuple[float, ...] = ()
    score: Score = exact

    def __post_init__(self) -> None:
        unknown = [name for name in self.methods if name not in KNOWN]
        if unknown or not self.methods:
            raise InvalidRequest(f"The methods are {', '.join(KNOWN)}; not {unknown!r}.")

    @property
    def best_layer(self) -> int | None:
        """The layer that was right most often, of equal ones the first."""
        return best_of(self.validation_by_layer) if self.validation_by_layer else None


@dataclass(frozen=True)
class Timed:
    """One question asked alone, plain and through LASER: seconds, and the route LASER took."""

    route: str
    plain_s: float
    laser_s: float


@dataclass(frozen=True)
class Tally:
    """Outcomes, attention shares and times counted so far; the lists grow."""

    outcomes: dict[str, list[Outcome]]
    shares: dict[str, list[float]] = field(default_factory=dict)
    timed: list[Timed] = field(default_factory=list)


def bench(
    subject: Subject,
    items: Iterable[Item],
    setup: Setup,
    progress: Callable[[int], object] = lambda done: None,
) -> report.BenchReport:
    """Run `setup.methods` on `items`; `progress` is told how many items are done since.

    Raises InvalidRequest for best-layer without the scores that choose it.
    """
    arms = [_arm(name, setup, subject) for name in setup.methods]
    tally = Tally({arm.name: [] for arm in arms})
    for batch in batches(items, setup.batch_size):
        for arm in arms:
            tally.outcomes[arm.name] += run_arm(subject.ask, arm, batch, setup.score)
        if "laser" in setup.methods:
            _aggregate(subject, batch, setup.options, tally.shares)
            tally.timed.extend(_time(subject, batch[: setup.timed - len(tally.timed)], setup))
        progress(len(batch))
    return _report(subject, setup, tally)


def score_layers(
    subject: Subject,
    items: Iterable[Item],
    options: LaserOptions,
    progress: Callable[[int], object] = lambda done: None,
    score: Score = exact,
) -> tuple[float, ...]:
    """The share of right answers on `items` with each layer fixed, in order of the layers."""
    layers = range(subject.n_layers)
    variants = {str(layer): options.model_copy(update={"layer": layer}) for layer in layers}
    rows = sweep(subject.ask, items, variants, progress=progress, score=score)
    return tuple(row.accuracy[report.OVERALL] for row in rows)


def best_of(scores: Sequence[float]) -> int:
    """The first of the layers with the highest score."""
    return scores.index(max(scores))


def _arm(name: str, setup: Setup, subject: Subject) -> Arm:
    options = setup.options
    changed: dict[str, object] = {}
    match name:
        case "fixed-layer":
            changed = {"layer": fixed_layer(setup, subject.n_layers)}
        case "best-layer":
            if setup.best_layer is None:
                raise InvalidRequest("best-layer needs layers that were scored on validation.")
            changed = {"layer": setup.best_layer}
        case "oracle":
            changed = {"direct_margin": subject.direct_margin(options)}
            return Arm(name, options.model_copy(update=changed), "oracle")
        case _ if name in VARIANTS:
            changed = dict(VARIANTS[name])
        case _:
            return Arm(name, options, cast("MethodName", name))
    return Arm(name, options.model_copy(update=changed))


def fixed_layer(setup: Setup, n_layers: int) -> int:
    """The layer of the fixed-layer baseline."""
    if setup.fixed_layer is not None:
        return setup.fixed_layer
    return round(FIXED_LAYER_SHARE * n_layers)


def _aggregate(
    subject: Subject, batch: Sequence[Item], options: LaserOptions, shares: dict[str, list[float]]
) -> None:
    """Add each map's share of mass in the true boxes, and the share an even map would have."""
    found = [item for item in batch if item.evidence]
    for item, maps in zip(found, subject.maps(found, options) if found else [], strict=True):
        even = {"even": np.ones_like(next(iter(maps.grids.values())))}
        for kind, grid in {**maps.grids, **even}.items():
            shares.setdefault(kind, []).append(map_share(grid, maps.box, item.evidence))


def _time(subject: Subject, items: Sequence[Item], setup: Setup) -> list[Timed]:
    """Ask each item alone, plain and through LASER."""
    timed = []
    for item in items:
        plain, laser = (
            run_arm(subject.ask, Arm(name, setup.options, name), [item])[0]
            for name in ("plain", "laser")
        )
        timed.append(Timed(laser.result.route, plain.wall_s, laser.wall_s))
    return timed


def _report(subject: Subject, setup: Setup, tally: Tally) -> report.BenchReport:
    methods = {name: report.method_report(done) for name, done in tally.outcomes.items()}
    laser = tally.outcomes.get("laser")
    basic = report.BenchReport(
        n=len(next(iter(tally.outcomes.values()))),
        seed=setup.seed,
        split=setup.split,
        model=subject.name,
        options=setup.options.model_dump(mode="json"),
        fixed_layer=fixed_layer(setup, subject.n_layers),
        best_layer=setup.best_layer,
        validation_by_layer=setup.validation_by_layer,
        methods=methods,
        gap_closed=report.gaps(methods),
        laser_against=report.laser_against(tally.outcomes),
        attention_aggregation={k: float(np.mean(v)) for k, v in tally.shares.items()},
        time_ratio=time_ratios(tally.timed),
    )
    if not laser:
        return basic
    full = basic.model_copy(
        update={
            "box_hit_rate": methods["laser"].box_hit_rate.get(report.OVERALL),
            "layers": report.layer_counts(laser),
            "calibration": report.calibration_report(laser),
        }
    )
    return full.model_copy(update={"claims": claims(full)})


def time_ratios(timed: Sequence[Timed]) -> dict[str, report.TimeRatio]:
    """LASER/plain by the route LASER took, and over all questions."""
    groups = {report.OVERALL: list(timed)} if timed else {}
    for timing in timed:
        groups.setdefault(timing.route, []).append(timing)
    return {route: _ratio(group) for route, group in groups.items()}


def _ratio(group: Sequence[Timed]) -> report.TimeRatio:
    laser_s = statistics.fmean(timing.laser_s for timing in group)
    plain_s = statistics.fmean(timing.plain_s for timing in group)
    return report.TimeRatio(
        n=len(group),
        mean=laser_s / plain_s,
        median=statistics.median(timing.laser_s / timing.plain_s for timing in group),
        laser_s=laser_s,
        plain_s=plain_s,
    )
