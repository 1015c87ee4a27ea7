"""Map -> the window that stands out most: ViCrop (arXiv 2502.17422, as its code has it)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from laser_tools.grounding.regions import Region
from laser_tools.schema import Box, Evidence

RATIOS = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
"""Window sides tried, in units of the side of the images that the model takes."""


@dataclass(frozen=True)
class _Window:
    """The place of one size of window with the largest sum. Cells of the map; `side` in pixels."""

    prominence: float
    mass: float
    row: int
    column: int
    n_rows: int
    n_columns: int
    side: float


def best_window(
    heat: Tensor, map_box: Box, image_size: tuple[int, int], window_px: int
) -> Region | None:
    """The window of `heat` (h, w) to crop, its sides `RATIOS` times `window_px`.

    Each size is placed where its sum is largest. Of these places the one is taken whose sum is the
    furthest above those one cell up, down, left and right, per cell. None where the map is zero
    everywhere; all of `map_box` where the smallest window covers it.
    """
    total = float(heat.sum())
    if total <= 0:
        return None
    windows = list(_windows(heat.double(), map_box, window_px))
    if not windows:
        return Region((Evidence(box=map_box, score=1.0),), map_box)
    best = max(windows, key=lambda window: window.prominence)
    box = _centred(best, heat, map_box, image_size)
    return Region((Evidence(box=box, score=min(best.mass / total, 1.0)),), box)


def _windows(heat: Tensor, map_box: Box, window_px: int) -> Iterator[_Window]:
    h, w = heat.shape
    for side in (window_px * ratio for ratio in RATIOS):
        n_rows = min(max(int(side / (map_box.height / h)), 1), h)
        n_columns = min(max(int(side / (map_box.width / w)), 1), w)
        if (n_rows, n_columns) == (h, w):
            return  # larger ones cover the map as well
        sums = heat.unfold(0, n_rows, 1).unfold(1, n_columns, 1).sum(dim=(-1, -2))
        row, column = divmod(int(sums.argmax()), sums.shape[1])
        mass = float(sums[row, column])
        around = _neighbours(sums, row, column)
        prominence = (mass - sum(around) / len(around)) / (n_rows * n_columns)
        yield _Window(prominence, mass, row, column, n_rows, n_columns, side)


def _neighbours(sums: Tensor, row: int, column: int) -> list[float]:
    """The sums one cell up, down, left and right, where there are such places."""
    h, w = sums.shape
    places = ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
    return [float(sums[r, c]) for r, c in places if 0 <= r < h and 0 <= c < w]


def _centred(window: _Window, heat: Tensor, map_box: Box, image_size: tuple[int, int]) -> Box:
    """The window in pixels around the middle of its cells, moved to lie inside the image."""
    (h, w), (width, height) = heat.shape, image_size
    middle_x = map_box.x0 + map_box.width / w * (window.column + window.n_columns / 2)
    middle_y = map_box.y0 + map_box.height / h * (window.row + window.n_rows / 2)
    x0, x1 = _inside(int(middle_x), window.side, width)
    y0, y1 = _inside(int(middle_y), window.side, height)
    return Box(x0=x0, y0=y0, x1=x1, y1=y1)


def _inside(middle: int, length: float, side: int) -> tuple[int, int]:
    half = max(int(length // 2), 1)
    start = max(min(middle - half, side - 2 * half), 0)
    return start, min(start + 2 * half, side)
