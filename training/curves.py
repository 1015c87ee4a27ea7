"""The logs of a run as a picture: what each stage got right on validation."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps

from laser_tools.figures.style import styled_figure
from training.loop import VALIDATION

PANEL_IN = (4.0, 2.6)
A_ROW = 4


def draw_curves(folder: Path, stages: Sequence[str], out: Path) -> None:
    """One panel a stage that has been validated in `folder`, one line a measure."""
    logs = [log for stage in stages if (log := folder / f"{stage}.jsonl").exists()]
    found = {log.stem: measures for log in logs if (measures := validated(log))}
    columns = min(max(len(found), 1), A_ROW)
    rows = max(math.ceil(len(found) / A_ROW), 1)
    with styled_figure(PANEL_IN[0] * columns, PANEL_IN[1] * rows) as figure:
        for number, (stage, measures) in enumerate(found.items(), start=1):
            panel = figure.add_subplot(rows, columns, number)
            panel.set_prop_cycle(color=[colormaps["tab20"](i) for i in range(20)])
            for name, (steps, values) in measures.items():
                panel.plot(steps, values, label=name, lw=1, marker=".", ms=2)
            panel.set(title=stage, xlabel="step", ylim=(0, 1))
            panel.legend(fontsize=5, loc="upper left", bbox_to_anchor=(1.01, 1.03))
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
