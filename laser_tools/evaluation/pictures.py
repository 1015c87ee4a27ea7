"""Pictures of a bench report: accuracy, chosen layers, reliability."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from laser_tools.evaluation.metrics import ReliabilityBin
from laser_tools.evaluation.report import OVERALL, BenchReport, CalibrationReport
from laser_tools.figures.style import FAINT, INK, LASER_COLOUR, PLAIN_COLOUR, styled_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METHOD_COLOURS = {
    "plain": PLAIN_COLOUR,
    "fixed-layer": "#9aa7b8",
    "best-layer": "#6f8f7f",
    "raw-attention": "#e0a458",
    "laser": LASER_COLOUR,
    "one-crop": "#f0a6ad",
    "without-vat": "#b58db6",
    "oracle": INK,
}


def draw_all(report: BenchReport, stem: Path) -> list[Path]:
    """Draw what the report holds beside `stem` (out -> out.accuracy.png, ...); returns the files.

    Raises MissingExtra without matplotlib.
    """
    drawn = [accuracy_picture(report, _beside(stem, "accuracy"))]
    if report.layers:
        drawn.append(layer_picture(report.layers, _beside(stem, "layers")))
    if report.calibration is not None and report.calibration.bins:
        drawn.append(reliability_picture(report.calibration, _beside(stem, "reliability")))
    return drawn


def _beside(stem: Path, what: str) -> Path:
    return stem.with_name(f"{stem.name}.{what}.png")


def accuracy_picture(report: BenchReport, path: Path) -> Path:
    """Accuracy per question type and method, with 95 % intervals."""
    kinds = list(next(iter(report.methods.values())).accuracy)
    width = 0.8 / len(report.methods)
    with styled_figure(max(7.2, 0.62 * len(kinds)), 3.0) as figure:
        axes = figure.add_axes((0.065, 0.17, 0.925, 0.63))
        for i, name in enumerate(report.methods):
            x = np.arange(len(kinds)) + (i - (len(report.methods) - 1) / 2) * width
            _accuracy_bars(axes, report, name, kinds, x, width)
        axes.set_xticks(range(len(kinds)), [kind.replace(" ", "\n") for kind in kinds])
        axes.set_ylim(0, 100)
        axes.set_ylabel("right answers, %")
        figure.legend(loc="upper left", bbox_to_anchor=(0.05, 0.93), ncols=len(report.methods))
        figure.text(0.01, 0.95, f"{report.model} on MicroScenes {report.split}, n = {report.n}")
        figure.savefig(path)
    return path


def _accuracy_bars(
    axes: Axes, report: BenchReport, name: str, kinds: list[str], x: np.ndarray, width: float
) -> None:
    method = report.methods[name]
    shares = np.array([method.accuracy[kind] for kind in kinds])
    limits = np.array([method.interval[kind] for kind in kinds])
    errors = np.abs(np.stack([shares - limits[:, 0], limits[:, 1] - shares]))
    axes.bar(
        x,
        100 * shares,
        width * 0.9,
        yerr=100 * errors,
        color=METHOD_COLOURS.get(name),  # None: the next of matplotlib's own
        label=name,
        error_kw={"elinewidth": 0.8, "ecolor": "#a0a7b1"},
    )


def layer_picture(layers: dict[str, list[int]], path: Path) -> Path:
    """Draw how often each layer gives most of the map's peak: a row per type, on one scale."""
    shares = {kind: _shares(counts) for kind, counts in layers.items() if kind != OVERALL}
    top = max(float(row.max()) for row in shares.values())
    n_layers = len(next(iter(shares.values())))
    tall = 0.75 + 0.42 * len(shares)
    with styled_figure(3.5, tall) as figure:
        rows = figure.subplots(len(shares), 1, sharex=True, squeeze=False)[:, 0]
        figure.subplots_adjust(left=0.31, right=0.98, hspace=0.45)
        figure.subplots_adjust(top=1 - 0.35 / tall, bottom=0.5 / tall)
        for axes, (kind, row) in zip(rows, shares.items(), strict=True):
            _layer_row(axes, kind, row, top)
        rows[0].set_title("layer of the map's peak, share of questions")
        rows[-1].set_xlabel("layer")
        rows[-1].set_xticks(range(0, n_layers, max(n_layers // 12, 1)))
        figure.savefig(path)
    return path


def _shares(counts: list[int]) -> np.ndarray:
    return np.array(counts) / max(sum(counts), 1)


def _layer_row(axes: Axes, kind: str, shares: np.ndarray, top: float) -> None:
    best = int(shares.argmax())
    colours = [LASER_COLOUR if layer == best else FAINT for layer in range(len(shares))]
    axes.bar(range(len(shares)), shares, color=colours, width=0.8)
    axes.text(best, shares[best], f"{shares[best]:.0%}", ha="center", va="bottom", fontsize=6)
    axes.set_ylabel(kind, rotation=0, ha="right", va="center")
    axes.set_ylim(0, 1.25 * top)  # room for the figure above the highest bar
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="x", length=0)


def reliability_picture(calibration: CalibrationReport, path: Path) -> Path:
    """Draw accuracy against confidence per bin, and the number of answers in each."""
    with styled_figure(3.5, 3.6) as figure:
        upper, lower = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1), "hspace": 0.1}
        )
        figure.subplots_adjust(left=0.14, right=0.97, top=0.92, bottom=0.11)
        middles = [(bin_.low + bin_.high) / 2 for bin_ in calibration.bins]
        width = calibration.bins[0].high - calibration.bins[0].low
        reliability_curve(upper, calibration.bins)
        lower.bar(middles, [bin_.n for bin_ in calibration.bins], width * 0.9, color=PLAIN_COLOUR)
        lower.set_ylabel("answers")
        lower.set_xlabel("confidence")
        upper.set_title(_calibration_title(calibration))
        figure.savefig(path)
    return path


def reliability_curve(axes: Axes, bins: Sequence[ReliabilityBin]) -> None:
    """The share of right answers over the confidence, beside the diagonal."""
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, zorder=0)
    axes.plot(
        [bin_.confidence for bin_ in bins],
        [bin_.accuracy for bin_ in bins],
        color=LASER_COLOUR,
        marker="o",
        markersize=3.5,
        linewidth=1.2,
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.03)
    axes.set_ylabel("share of right answers")


def _calibration_title(calibration: CalibrationReport) -> str:
    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    return (
        f"ECE {shown(calibration.ece)}   AUROC {shown(calibration.auroc)} "
        f"(softmax {shown(calibration.auroc_softmax)})"
    )
