"""A run's report in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from laser_tools.evaluation.report import OVERALL, Paired, percent
from laser_tools.evaluation.run.report import MethodFigures, RunReport, groups_of

HEAD = (
    "method", "accuracy, %", "right [95 %]", "hit, %", "map in box, %", "s", "x plain", "passes",
    "ECE", "AUROC", "errors",
)  # fmt: skip


def markdown(report: RunReport) -> str:
    """The whole report."""
    parts = [f"# {title(report)}", facts(report), *_tables(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def title(report: RunReport) -> str:
    return f"{report.model} on {report.run.set}, {report.run.split}"


def facts(report: RunReport) -> str:
    """What was asked and how it was scored, in sentences."""
    run, line = report.run, report.run.instruction
    sentences = [
        f"{report.n:,} questions that every method answered, seed {run.seed}.",
        f"Metric: {run.metric}.",
        f'After every question: "{line}"' if line else "Nothing is put after a question.",
    ]
    if run.best_layer is not None:
        sentences.append(f"best-layer is layer {run.best_layer}.")
    if report.n < run.n:
        sentences.append(f"{run.n - report.n:,} more have an error or were not asked yet.")
    for name, errors in report.silent.items():
        told = ", ".join(f"{count:,} {code}" for code, count in errors.items()) or "not asked yet"
        sentences.append(f"{name} answered nothing ({told}).")
    if report.broken_lines:
        sentences.append(f"{report.broken_lines:,} lines of the file cannot be read.")
    return " ".join(sentences)


def _tables(report: RunReport) -> list[str]:
    if not report.methods:
        return ["No question was answered by every method."]
    return [
        table(*main_table(report)),
        table(*official_table(report)) if official_says_more(report) else "",
        table(*group_table(report)) if len(groups_of(report)) > 2 else "",
        _against("plain", report.against_plain),
        _against("laser", report.against_laser),
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first column to the left, figures to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main_table(report: RunReport) -> tuple[Sequence[str], list[list[str]]]:
    """Head and rows: each method with all its figures."""
    return HEAD, [_row(name, figures) for name, figures in report.methods.items()]


def _row(name: str, figures: MethodFigures) -> list[str]:
    low, high = figures.interval[OVERALL]
    said = figures.calibration
    return [
        name,
        percent(figures.accuracy[OVERALL]),
        f"{percent(low)} to {percent(high)}",
        percent(figures.hit),
        percent(figures.aggregation),
        f"{figures.seconds:.3f}",
        number(figures.seconds_ratio, 2),
        number(figures.passes, 1),
        number(said.ece, 3),
        number(said.auroc if said.ece is not None else None, 3),
        ", ".join(f"{count} {code}" for code, count in figures.errors.items()) or "0",
    ]


def number(value: float | None, digits: int) -> str:
    """A dash for what is not there."""
    return "-" if value is None else f"{value:.{digits}f}"


def official_says_more(report: RunReport) -> bool:
    """True where the papers report more than the mean score."""
    return any(
        figures.official != {"accuracy": figures.accuracy[OVERALL]}
        for figures in report.methods.values()
    )


def official_table(report: RunReport) -> tuple[Sequence[str], list[list[str]]]:
    """Head and rows: what the set's papers report, in %."""
    names = list(
        dict.fromkeys(key for figures in report.methods.values() for key in figures.official)
    )
    rows = [
        [name, *(percent(figures.official.get(key)) for key in names)]
        for name, figures in report.methods.items()
    ]
    return ["as the papers report, %", *names], rows


def group_table(report: RunReport) -> tuple[Sequence[str], list[list[str]]]:
    """Head and rows: accuracy by group."""
    first = next(iter(report.methods.values()))
    rows = [
        [name, *(percent(figures.accuracy[name]) for figures in report.methods.values())]
        for name in first.accuracy
    ]
    return ["accuracy by group, %", *report.methods], rows


def _against(name: str, found: dict[str, Paired]) -> str:
    return table(*against_table(name, found)) if found else ""


def against_table(name: str, found: dict[str, Paired]) -> tuple[Sequence[str], list[list[str]]]:
    """Head and rows: each method against `name` on the same questions."""
    rows = [
        [other, f"+{pair.wins}", f"-{pair.losses}", f"{pair.p:.2g}"]
        for other, pair in found.items()
    ]
    return [f"against {name}", "wins", "losses", "p (McNemar)"], rows
