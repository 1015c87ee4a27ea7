"""Measures of the reports: right or wrong, intervals, hits, map mass, calibration.

Plain functions of plain numbers; nothing here knows a model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from laser_tools.schema import Box

HIT_SHARE = 0.9  # a crop that holds this share of the evidence area is a hit
ECE_BINS = 15  # equal-width bins, as in Guo et al. 2017 (arXiv 1706.04599)
Z95 = 1.959964  # standard normal quantile of a two-sided 95 % interval
RESAMPLES = 1000  # of a bootstrap
MIN_GAP = 0.01  # a gap below a point is noise, and so is the share of it that is closed


@dataclass(frozen=True)
class ReliabilityBin:
    """One confidence bin: its range, number of answers, mean confidence and accuracy."""

    low: float
    high: float
    n: int
    confidence: float  # mean predicted probability
    accuracy: float  # share that was right


def is_right(answer: str, truth: str) -> bool:
    """Exact match after stripping blanks, a final full stop and case."""
    return _normal(answer) == _normal(truth)


def _normal(text: str) -> str:
    return " ".join(text.strip().rstrip(".").lower().split())


def wilson(right: float, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share; (0, 1) when nothing was counted."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = right / n, Z95 * Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def gap_closed(plain: float, laser: float, oracle: float) -> float | None:
    """(laser - plain) / (oracle - plain); None where the oracle wins less than a point."""
    gap = oracle - plain
    return (laser - plain) / gap if gap >= MIN_GAP else None


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact p-value of `wins` against `losses` on the same items, if neither is better.

    McNemar's exact test: items on which both are right, or both wrong, say nothing.
    """
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1))
    return min(2 * tail / (1 << n), 1.0)


def evidence_share(boxes: Sequence[Box], *crops: Box) -> float:
    """Share of the evidence area (summed over all `boxes` of a question) that the crops hold.

    What two crops hold of a box is not added up: the one that holds more of it counts.
    """
    held = sum(max(box.intersection_area(crop) for crop in crops) for box in boxes)
    return held / sum(box.area for box in boxes)


def box_hit(boxes: Sequence[Box], *crops: Box) -> bool:
    """True when the crops hold at least 90 % of the true evidence area.

    The area is that of all boxes of the item together: a two-object question is hit only by
    crops that show (nearly) both. `boxes` must not be empty: where there is no evidence there is
    nothing to hit.
    """
    return evidence_share(boxes, *crops) >= HIT_SHARE


def map_share(grid: np.ndarray, map_box: Box, boxes: Sequence[Box]) -> float:
    """Attention aggregation: the share of the map's mass that lies inside `boxes`.

    `grid` is (rows, columns), >= 0, and covers `map_box`; a cell that straddles a border counts
    by the share of its area inside. LASER (arXiv 2602.04304) reports it on RefCOCO. A map without
    mass has nothing inside: 0.
    """
    total = float(grid.sum())
    if total <= 0:
        return 0.0
    return float((grid * _coverage(grid.shape, map_box, boxes)).sum()) / total


def _coverage(shape: tuple[int, ...], map_box: Box, boxes: Sequence[Box]) -> np.ndarray:
    """Share of each cell's area inside the boxes, (rows, columns)."""
    rows, columns = shape
    covered = np.zeros((rows, columns))
    for box in boxes:
        down = _overlap(rows, map_box.y0, map_box.y1, box.y0, box.y1)
        across = _overlap(columns, map_box.x0, map_box.x1, box.x0, box.x1)
        covered += np.outer(down, across)
    return np.minimum(covered, 1.0)


def _overlap(cells: int, start: int, end: int, low: int, high: int) -> np.ndarray:
    """Share of each of `cells` equal pieces of [start, end) that lies in [low, high)."""
    edges = np.linspace(start, end, cells + 1)
    inside = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    share: np.ndarray = np.clip(inside, 0, None) / ((end - start) / cells)
    return share


def reliability(
    confidences: Sequence[float] | np.ndarray,
    right: Sequence[bool] | np.ndarray,
    bins: int = ECE_BINS,
) -> list[ReliabilityBin]:
    """Equal-width confidence bins over 0-1, empty ones left out."""
    scores, hits = np.asarray(confidences, dtype=float), np.asarray(right, dtype=float)
    index = np.minimum((scores * bins).astype(int), bins - 1)
    return [
        ReliabilityBin(
            low=b / bins,
            high=(b + 1) / bins,
            n=int((index == b).sum()),
            confidence=float(scores[index == b].mean()),
            accuracy=float(hits[index == b].mean()),
        )
        for b in sorted(set(index.tolist()))
    ]


def expected_calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Mean |confidence - accuracy| over bins, weighted by their size (arXiv 1706.04599, eq. 3)."""
    n = sum(bin_.n for bin_ in bins)
    return sum(bin_.n * abs(bin_.confidence - bin_.accuracy) for bin_ in bins) / n


def ece(confidences: Sequence[float] | np.ndarray, right: Sequence[bool] | np.ndarray) -> float:
    """The expected calibration error of at least one answer, over the bins of `reliability`."""
    return expected_calibration_error(reliability(confidences, right))


def auroc(scores: Sequence[float] | np.ndarray, right: Sequence[bool] | np.ndarray) -> float | None:
    """Chance that a right answer scores above a wrong one, ties half; None with one class only."""
    values, hits = np.asarray(scores, dtype=float), np.asarray(right, dtype=bool)
    positives, negatives = int(hits.sum()), int((~hits).sum())
    if not positives or not negatives:
        return None
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]  # 1-based, ties share the mean rank
    above = ranks[hits].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def bootstrap(
    statistic: Callable[[np.ndarray], float | None], n: int, seed: int = 0
) -> tuple[float, float] | None:
    """95 % percentile interval of a statistic of rows, drawn anew with replacement out of `n`.

    Draws for which it is None are left out; None if it is for more than half of them.
    """
    rng = np.random.default_rng(seed)
    drawn = [statistic(rng.integers(n, size=n)) for _ in range(RESAMPLES)]
    found = [value for value in drawn if value is not None]
    if len(found) < RESAMPLES / 2:
        return None
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)
