"""How the pictures of docs/concepts.md are drawn, in the style of all of the package's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from laser_tools.figures.style import FAINT, INK, LASER_COLOUR, MUTED, PLAIN_COLOUR, styled_figure
from laser_tools.schema import Box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Grid = NDArray[np.float32]

WIDTH_IN, DPI, QUALITY = 7.2, 150, 88
MAP_COLOURS = "YlOrRd"  # on light grey
STREAMS = ("the crop", "its evidence hidden")


@dataclass(frozen=True)
class Layers:
    """Every layer's map (L, h, w) over `box`, its VAQ, and the layer that was chosen."""

    maps: Grid
    box: Box
    vaq: Sequence[float]
    chosen: int


@dataclass(frozen=True)
class Streams:
    """Candidates for the first token, with their logits in both streams."""

    tokens: Sequence[str]
    positive: Sequence[float]
    negative: Sequence[float]


def draw_maps(image: Image.Image, maps: Mapping[str, Grid], box: Box, path: Path) -> None:
    """The image, and beside it each map (h, w) over it; the maps share one scale."""
    most = max(float(grid.max()) for grid in maps.values())
    width = WIDTH_IN / (len(maps) + 1)
    with styled_figure(WIDTH_IN, width * image.height / image.width + 0.3) as figure:
        panels = figure.subplots(1, len(maps) + 1)
        _show(panels[0], image, "the picture")
        for panel, (title, grid) in zip(panels[1:], maps.items(), strict=True):
            _show(panel, _faded(image), title)
            _overlay(panel, grid, box, most)
        figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=0.91, wspace=0.03)
        _save(figure, path)


def draw_layers(image: Image.Image, rows: Mapping[str, Layers], path: Path) -> None:
    """A row of maps for each question, its bars of VAQ below."""
    n_layers = len(next(iter(rows.values())).vaq)
    with styled_figure(WIDTH_IN, 2.35 * len(rows)) as figure:
        parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
        for part, (question, row) in zip(parts, rows.items(), strict=True):
            part.suptitle(question, x=0.045, y=0.97, ha="left", fontsize=9, fontweight="bold")
            panels = part.subplots(2, n_layers, height_ratios=(1, 0.42))
            _layers_row(panels, image, row)
            part.subplots_adjust(left=0.045, right=0.995, bottom=0.1, top=0.84, wspace=0.06)
        _save(figure, path)


def _layers_row(panels: NDArray[np.object_], image: Image.Image, row: Layers) -> None:
    for layer, (above, below) in enumerate(panels.T):
        _show(above, _faded(image), "")
        _overlay(above, row.maps[layer], row.box, float(row.maps[layer].max()))
        below.bar([0], row.vaq[layer], color=LASER_COLOUR if layer == row.chosen else FAINT)
        below.set_ylim(0, 1.15 * max(row.vaq))
        below.set_xlim(-0.9, 0.9)
        below.set_yticks([])
        below.set_xticks([0], [f"layer {layer}"])
        below.spines["left"].set_visible(False)
    panels[1][0].set_ylabel("VAQ")


def draw_streams(views: Sequence[Image.Image], streams: Streams, path: Path) -> None:
    """Both crops, the candidates' logits in each, and the difference of the logits."""
    with styled_figure(WIDTH_IN, 2.2) as figure:
        panels = figure.subplots(1, 4, width_ratios=(1, 1, 1.5, 1))
        for panel, view, title in zip(panels[:2], views, STREAMS, strict=True):
            _show(panel, view, title)
        _logits(panels[2], streams)
        _difference(panels[3], streams)
        figure.subplots_adjust(left=0.005, right=0.99, bottom=0.12, top=0.89, wspace=0.25)
        _save(figure, path)


def _logits(axes: Axes, streams: Streams) -> None:
    x = np.arange(len(streams.tokens))
    axes.bar(x - 0.19, streams.positive, 0.36, color=LASER_COLOUR, label=STREAMS[0])
    axes.bar(x + 0.19, streams.negative, 0.36, color=PLAIN_COLOUR, label=STREAMS[1])
    axes.set_title("logits of the first token")
    axes.legend(loc="upper right")
    _name_tokens(axes, streams)


def _difference(axes: Axes, streams: Streams) -> None:
    vat = np.subtract(streams.positive, streams.negative)
    axes.bar(np.arange(len(vat)), vat, 0.6, color=INK)
    axes.set_title("their difference, VAT")
    _name_tokens(axes, streams)


def _name_tokens(axes: Axes, streams: Streams) -> None:
    axes.set_xticks(range(len(streams.tokens)), [f"“{token}”" for token in streams.tokens])
    axes.axhline(0, color=MUTED, linewidth=0.6)


def _show(axes: Axes, image: Image.Image, title: str) -> None:
    axes.imshow(np.asarray(image), extent=(0, image.width, image.height, 0))
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)


def _faded(image: Image.Image) -> Image.Image:
    """In light grey, so that the colours above it are the map's alone."""
    grey = image.convert("L").convert("RGB")
    return Image.blend(grey, Image.new("RGB", image.size, "white"), 0.45)


def _overlay(axes: Axes, grid: Grid, box: Box, most: float) -> None:
    """The map from clear (nothing) to bright (`most`)."""
    strength = np.asarray(grid, dtype=float) / max(most, 1e-12)
    axes.imshow(
        strength, cmap=MAP_COLOURS, alpha=0.8 * np.sqrt(strength), vmin=0, vmax=1,
        extent=(box.x0, box.x1, box.y1, box.y0), interpolation="nearest",
    )  # fmt: skip
    axes.set_xlim(0, axes.get_images()[0].get_extent()[1])
    axes.set_ylim(axes.get_images()[0].get_extent()[2], 0)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=DPI, pil_kwargs={"quality": QUALITY})
