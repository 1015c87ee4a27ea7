"""Choosing defaults on the validation split: one option at a time, every value scored.

The tables in docs/choices.md are written by this module, so that they can be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from laser_tools.evaluation.arms import BATCH_SIZE, Arm, Outcome, run_arm
from laser_tools.evaluation.ask import Ask
from laser_tools.evaluation.batches import batches
from laser_tools.evaluation.benchmarks.base import Item, Score, exact
from laser_tools.evaluation.report import OVERALL, by_group, hit_rates, method_report, percent
from laser_tools.options import LaserOptions

BEGIN, END = "<!-- choices: begin -->", "<!-- choices: end -->"

VALUES: dict[str, tuple[object, ...]] = {
    "readout": ("last", "question"),
    "no_query": ("empty", "instruction"),
    "answer_instruction": ("", "Answer briefly."),
    "renormalise": (False, True),
    "k_head": (1, 2, 4, 8, None),
    "first_layer": (0, 1, 2, 4),
    "aggregate": ("mean", "max"),
    "k_patch": (0.02, 0.05, 0.1, 0.2),
    "box_rule": ("bounding", "centre", "component", "cover"),
    "crop_ratio": (0.35, 0.5, 0.65),
    "max_crops": (1, 2, 3),
    "further_share": (0.25, 0.5, 0.75),
    "view": ("crop", "image+crop"),
    "negative": ("pixels", "keys", "auto"),
    "mask_fill": ("mean", "zero"),
    "alpha": (0.0, 0.25, 0.5, 1.0, 2.0),
    "beta": (None, 0.1, 0.3),
    "direct_margin": (None, 1.0, 2.0, 4.0, 8.0),
    "verify_margin": (None, 1.0, 2.0, 4.0, 8.0),
    "again_margin": (None, 2.0, 4.0, 8.0, 16.0),
    "again_share": (0.0, 0.25, 0.5, 0.75),
    "second_opinion": ("none", "choose"),
    "presence_margin": (None, 0.0, 4.0, 8.0),
}
"""Values tried for each open choice of the paper, in the order of the method's stages."""


@dataclass(frozen=True)
class Row:
    """One variant's score: shares by question type and `overall`."""

    name: str
    n: int
    accuracy: dict[str, float]
    box_hit_rate: float | None
    routes: dict[str, int]
    seconds: float  # per question, in batches


def sweep(
    ask: Ask,
    items: Iterable[Item],
    variants: Mapping[str, LaserOptions],
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int], object] = lambda done: None,
    score: Score = exact,
) -> list[Row]:
    """Every variant on the same items; `progress` is told how many items are done since.

    Variants that are equal are run once and share their row's figures.
    """
    arms = {name: Arm(name, options) for name, options in variants.items()}
    first = {arm.options: name for name, arm in reversed(list(arms.items()))}
    outcomes: dict[str, list[Outcome]] = {name: [] for name in first.values()}
    for batch in batches(items, batch_size):
        for name, done in outcomes.items():
            done += run_arm(ask, arms[name], batch, score)
        progress(len(batch))
    return [row(name, outcomes[first[arm.options]]) for name, arm in arms.items()]


def row(name: str, outcomes: Sequence[Outcome]) -> Row:
    """Score one variant's outcomes."""
    report = method_report(outcomes)
    hits = hit_rates(by_group(outcomes)).get(OVERALL)
    return Row(name, len(outcomes), report.accuracy, hits, report.routes, report.seconds["wall"])


Values = Mapping[str, Sequence[object]]
"""Per option the values to try."""


def one_at_a_time(base: LaserOptions, values: Values) -> dict[str, dict[str, LaserOptions]]:
    """Per option: value (as text) -> `base` with that value; the base's own value always among."""
    return {name: _with_each(base, name, tried) for name, tried in values.items()}


def _with_each(base: LaserOptions, name: str, tried: Sequence[object]) -> dict[str, LaserOptions]:
    own = getattr(base, name)
    every = [*tried] if own in tried else [own, *tried]
    plain = base.model_dump()
    return {repr(value): LaserOptions.model_validate({**plain, name: value}) for value in every}


def choices(
    ask: Ask,
    items: Iterable[Item],
    base: LaserOptions,
    values: Values = VALUES,
    progress: Callable[[int], object] = lambda done: None,
    score: Score = exact,
) -> dict[str, list[Row]]:
    """Rows per option: `base` with one option changed at a time, all on the same items."""
    plan = one_at_a_time(base, values)
    flat = {f"{name}={text}": o for name, group in plan.items() for text, o in group.items()}
    scored = {row.name: row for row in sweep(ask, items, flat, progress=progress, score=score)}
    return {name: [scored[f"{name}={text}"] for text in group] for name, group in plan.items()}


def choices_markdown(rows: Mapping[str, Sequence[Row]], base: LaserOptions, note: str) -> str:
    """One table per option: value, accuracy per type, overall, box hit rate, seconds.

    The value that is the default is bold. `note` says what was asked: split, items, seed, model.
    """
    parts = [note]
    parts += [_table(name, group, repr(getattr(base, name))) for name, group in rows.items()]
    return "\n\n".join(parts) + "\n"


def _table(option: str, rows: Sequence[Row], default: str) -> str:
    types = list(rows[0].accuracy)
    head = [f"`{option}`", *types, "box hit", "s"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    lines += [_line(row, default) for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _line(row: Row, default: str) -> list[str]:
    value = row.name.partition("=")[2]
    name = f"**`{value}`**" if value == default else f"`{value}`"
    scores = [percent(share) for share in row.accuracy.values()]
    return [name, *scores, percent(row.box_hit_rate), f"{row.seconds:.3f}"]


def write_between_marks(path: Path, text: str) -> None:
    """Put `text` between the marks of `path`, keeping what is around them; else write it whole."""
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        before, after = "# Choices, as measured on validation\n\n", "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")
