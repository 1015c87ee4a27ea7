"""What `laser-tools bench visor` writes, and its tables."""

from __future__ import annotations

from pydantic import Field

from laser_tools.evaluation.report import OVERALL, Paired, percent
from laser_tools.schema import Frozen

PAPER_RATIO = 8.6  # times fewer FLOPs on LLaVA-OneVision 0.5B (arXiv 2603.23495)


class ConfigReport(Frozen):
    """One way to treat visual tokens. Ratios are of the dense model's; below 1 is cheaper."""

    accuracy: dict[str, float]  # by question type and overall
    interval: tuple[float, float]  # overall, 95 % Wilson
    flops: float  # of the language model's prefill, a question
    flops_ratio: float
    seconds: float  # of `generate`, one question at a time
    seconds_ratio: float
    self_layers: tuple[int, ...] | None = None
    keep: int | None = None  # visual tokens that pruning leaves
    against_dense: Paired | None = None


class RouterReport(Frozen):
    """What the router chose, by question type: the share of questions by configuration."""

    accuracy: float
    flops_ratio: float
    by_type: dict[str, dict[str, float]]


class PrefillReport(Frozen):
    """A prefill of the language model alone, random weights."""

    geometry: str
    n_visual: int
    n_text: int
    seconds: dict[str, float]
    times_faster: dict[str, float]


class VisorReport(Frozen):
    """Times hold for this machine and this run only."""

    model: str
    split: str
    n: int
    seed: int
    machine: dict[str, object]
    commit: str | None
    n_visual: int  # tokens of a prompt, on average
    n_text: int
    configs: dict[str, ConfigReport]
    router: RouterReport | None = None
    geometry: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Times fewer FLOPs than dense at LLaVA-OneVision-0.5B's sizes, by visual tokens."""
    prefill: PrefillReport | None = None


def summary(report: VisorReport) -> str:
    """The whole report as text for a terminal."""
    head = (
        f"{report.model} on MicroScenes {report.split}: {report.n} questions, seed {report.seed}; "
        f"{report.n_visual} visual tokens and {report.n_text} of text"
    )
    parts = [head, _table(report)]
    if report.geometry:
        parts.append(_geometry_table(report.geometry))
    if report.prefill is not None:
        parts.append(prefill_line(report.prefill))
    return "\n\n".join(parts)


def _table(report: VisorReport) -> str:
    kinds = [kind for kind in next(iter(report.configs.values())).accuracy if "(" not in kind]
    rows = [["configuration", *kinds, "FLOPs / dense", "s / dense", "against dense"]]
    rows += [["---"] + ["---:"] * (len(kinds) + 3)]
    for name, found in report.configs.items():
        shares = [percent(found.accuracy[kind]) for kind in kinds]
        costs = [f"{found.flops_ratio:.3f}", f"{found.seconds_ratio:.2f}"]
        pair = found.against_dense
        rows.append([
            name, *shares, *costs, f"+{pair.wins} -{pair.losses}, p {pair.p:.2g}" if pair else "",
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _geometry_table(found: dict[str, dict[str, float]]) -> str:
    sizes = list(found)
    rows = [["LLaVA-OneVision-0.5B, times fewer FLOPs", *(f"{n} visual tokens" for n in sizes)]]
    rows += [["---"] + ["---:"] * len(sizes)]
    rows += [
        [name, *(f"{found[size][name]:.1f}" for size in sizes)]
        for name in next(iter(found.values()))
    ]
    rows += [["VISOR as published", *[f"{PAPER_RATIO}"] * len(sizes)]]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def prefill_line(found: PrefillReport) -> str:
    """The timed prefill in a sentence."""
    parts = [f"{name} {times:.1f} x" for name, times in found.times_faster.items()]
    return (
        f"prefill of {found.n_visual} visual tokens at {found.geometry}, times faster than dense "
        f"({found.seconds['dense']:.2f} s): {', '.join(parts)}"
    )


def overall(found: ConfigReport) -> float:
    """Its accuracy over all questions."""
    return found.accuracy[OVERALL]
