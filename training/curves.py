"""The logs of a run as a picture: what each stage got right on validation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from laser_tools.figures.style import styled_figure
from training.loop import VALIDATION

PANEL_IN = (3.0, 2.8)


def draw_curves(folder: Path, stages: Sequence[str], out: Path) -> None:
    """One panel a stage that has been validated in `folder`, one line a measure."""
    logs = [log for stage in stages if (log := folder / f"{stage}.jsonl").exists()]
    found = {log.stem: measures for log in logs if (measures := validated(log))}
    with styled_figure(PANEL_IN[0] * max(len(found), 1), PANEL_IN[1]) as figure:
        for number, (stage, measures) in enumerate(found.items(), start=1):
            panel = figure.add_subplot(1, len(found), number)
            for name, (steps, values) in measures.items():
                panel.plot(steps, values, label=name, lw=1, marker=".", ms=2)
            panel.set(title=stage, xlabel="step", ylim=(0, 1))
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
