"""When LASER looks again inside its crop: the margin below which an answer is in doubt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from laser_tools.evaluation.judged import Pair

THRESHOLDS = np.arange(0.5, 20.5, 0.5)  # logits
ALWAYS = 1e9  # logits: every answer is in doubt


def fit_again_margin(pairs: Sequence[Pair]) -> float | None:
    """The margin below which another look makes most answers right; None if it makes no more.

    Of equally good ones the lowest, as every look costs two passes.
    """
    right = [sum(laser.right for _, laser in pairs)]
    right += [sum(looked_again(pair, margin)[1].right for pair in pairs) for margin in THRESHOLDS]
    best = int(np.argmax(right))
    return float(THRESHOLDS[best - 1]) if best else None


def looked_again(pair: Pair, margin: float | None) -> Pair:
    """The pair with LASER's answer after another look, where the first is in doubt."""
    plain, laser = pair
    if (
        margin is None
        or laser.closer is None
        or laser.features.get("margin_first", margin) >= margin
    ):
        return pair
    return plain, laser.closer
