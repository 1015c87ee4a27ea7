"""The logs of a run as a picture: what each stage got right on validation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from laser_tools.figures.style import styled_figure
from training.loop import VALIDATION

PANEL_IN = (3.0, 2.8)


def draw_curves(folder: Path, stages: Sequence[str], out: Path) -> None:
    """One panel for every one of `stages` that has a log in `folder`, one line a measure."""
    logs = [folder / f"{stage}.jsonl" for stage in stages]
    logs = [log for log in logs if log.exists()]
    with styled_figure(PANEL_IN[0] * max(len(logs), 1), PANEL_IN[1]) as figure:
        for number, log in enumerate(logs, start=1):
            panel = figure.add_subplot(1, len(logs), number)
            for name, (steps, values) in validated(log).items():
                panel.plot(steps, values, label=name, lw=1, marker=".", ms=2)
            panel.set(title=log.stem, xlabel="step", ylim=(0, 1))
            panel.legend(fontsize=5, ncols=2)
        figure.tight_layout()
        figure.savefig(out)


def validated(log: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Every measure on validation in a log, by name: the steps it was taken at, and its values."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for line in log.read_text().splitlines():
        record = json.loads(line)
        for key, value in record.items():
            if key.startswith(VALIDATION):
                steps, values = found.setdefault(key.removeprefix(VALIDATION), ([], []))
                steps.append(record["step"])
                values.append(value)
    return found
