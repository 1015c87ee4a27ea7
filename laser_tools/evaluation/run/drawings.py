"""The plots of a run's page, as PNG bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path

from laser_tools.evaluation.pictures import METHOD_COLOURS, layer_picture, reliability_picture
from laser_tools.evaluation.report import OVERALL
from laser_tools.evaluation.run.report import RunReport
from laser_tools.figures.style import FAINT, MUTED, styled_figure

OTHER_COLOURS = ("#e0a458", "#6f8f7f", "#8a6fb0", "#3f8fb5", "#b56576", "#7a7f2f")


def colours(report: RunReport) -> dict[str, str]:
    """A colour of its own for each method."""
    others = [name for name in report.methods if name not in METHOD_COLOURS]
    cycled = {name: OTHER_COLOURS[i % len(OTHER_COLOURS)] for i, name in enumerate(others)}
    return {name: METHOD_COLOURS.get(name) or cycled[name] for name in report.methods}


def accuracy_plot(report: RunReport) -> bytes:
    """Each method's accuracy with its 95 % interval, the first on top."""
    names, chosen = list(report.methods), colours(report)
    with styled_figure(6.4, 0.55 + 0.26 * len(names)) as figure:
        height = figure.get_figheight()
        axes = figure.add_axes((0.2, 0.4 / height, 0.77, 1 - 0.5 / height))
        for place, name in enumerate(names):
            low, high = report.methods[name].interval[OVERALL]
            share = report.methods[name].accuracy[OVERALL]
            axes.plot([100 * low, 100 * high], [place, place], color=chosen[name], linewidth=2)
            axes.plot(100 * share, place, "o", color=chosen[name], markersize=5)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel("accuracy, % (bars: 95 %)")
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        return _png(figure.savefig)


def risk_plot(report: RunReport) -> bytes | None:
    """Share wrong among the surest answers, for methods with a confidence; None without any."""
    drawn = {name: figures.risk for name, figures in report.methods.items() if figures.risk}
    if not drawn:
        return None
    chosen = colours(report)
    with styled_figure(3.6, 3.0) as figure:
        axes = figure.add_axes((0.15, 0.15, 0.82, 0.8))
        for name, points in drawn.items():
            shares, wrong = [100 * x for x, _ in points], [100 * y for _, y in points]
            axes.plot(shares, wrong, color=chosen[name], label=name, linewidth=1.5)
        axes.set_xlim(0, 100)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("answered, % (surest first)")
        axes.set_ylabel("wrong among them, %")
        axes.spines["left"].set_color(MUTED)
        axes.legend(loc="upper left")
        return _png(figure.savefig)


def reliability_plot(report: RunReport) -> tuple[str, bytes] | None:
    """LASER's confidence against what came true, or the first method's that has one."""
    names = sorted(report.methods, key=lambda name: name != "laser")
    for name in names:
        calibration = report.methods[name].calibration
        if calibration.bins:
            return name, _file(partial(reliability_picture, calibration))
    return None


def layers_plot(report: RunReport) -> bytes | None:
    """How often LASER chose each layer, by group; None where it was not asked."""
    laser = report.methods.get("laser")
    layers = {name: counts for name, counts in laser.layers.items() if counts} if laser else {}
    if not set(layers) - {OVERALL}:
        return None
    return _file(partial(layer_picture, layers))


def _png(save: Callable[..., object]) -> bytes:
    buffer = BytesIO()
    save(buffer, format="png")
    return buffer.getvalue()


def _file(draw: Callable[[Path], object]) -> bytes:
    """What `draw` writes to a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plot.png"
        draw(path)
        return path.read_bytes()
