"""The picture of a VISOR report: accuracy over FLOPs, and over seconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from laser_tools.evaluation.visor.bench import DENSE, ROUTER
from laser_tools.evaluation.visor.report import ConfigReport, VisorReport, overall
from laser_tools.figures.style import INK, LASER_COLOUR, MUTED, PLAIN_COLOUR, styled_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIXED, PRUNED = "one configuration", "token pruning"
_COLOURS = {DENSE: INK, ROUTER: LASER_COLOUR, FIXED: PLAIN_COLOUR, PRUNED: MUTED}
Cost = Literal["flops_ratio", "seconds_ratio"]
LABELS: dict[Cost, str] = {"flops_ratio": "FLOPs / dense", "seconds_ratio": "seconds / dense"}


def cost_picture(report: VisorReport, path: Path) -> Path:
    """Right answers over what they cost. Raises MissingExtra without matplotlib."""
    with styled_figure(7.0, 2.8) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        figure.subplots_adjust(left=0.075, right=0.98, top=0.86, bottom=0.16, wspace=0.08)
        for axes, (cost, label) in zip(panels, LABELS.items(), strict=True):
            for name, found in report.configs.items():
                _point(axes, name, found, getattr(found, cost))
            axes.set_xlabel(label)
            axes.set_xlim(left=0)
        panels[0].set_ylabel("right answers, %")
        _key(figure)
        figure.text(0.01, 0.94, f"{report.model} on MicroScenes {report.split}, n = {report.n}")
        figure.savefig(path)
    return path


def _point(axes: Axes, name: str, found: ConfigReport, cost: float) -> None:
    share, (low, high) = overall(found), found.interval
    errors = [[100 * max(share - low, 0)], [100 * max(high - share, 0)]]
    axes.errorbar(cost, 100 * share, yerr=errors, color=_COLOURS[_kind(name, found)], marker="o",
                  markersize=4, elinewidth=0.7, linestyle="none")  # fmt: skip


def _kind(name: str, found: ConfigReport) -> str:
    if found.keep is not None:
        return PRUNED
    return name if name in (DENSE, ROUTER) else FIXED


def _key(figure: Figure) -> None:
    """A dot and a name for each kind of point."""
    from matplotlib.lines import Line2D

    dots = [
        Line2D([], [], color=colour, marker="o", markersize=4, linestyle="none", label=kind)
        for kind, colour in _COLOURS.items()
    ]
    figure.legend(handles=dots, loc="upper right", ncols=len(dots), frameon=False)
