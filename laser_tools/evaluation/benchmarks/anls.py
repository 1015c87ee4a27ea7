"""ANLS, the average normalised Levenshtein similarity (Biten et al. 2019, arXiv 1907.00490)."""

from __future__ import annotations

from collections.abc import Sequence

TOLERANCE = 0.5  # answers that differ in this share of their letters or more score nothing


def anls(answer: str, references: Sequence[str]) -> float:
    """1 minus the share of letters to change for the nearest reference; 0 from a half on."""
    return max(
        (_similarity(_plain(answer), _plain(reference)) for reference in references), default=0.0
    )


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _similarity(said: str, truth: str) -> float:
    longest = max(len(said), len(truth))
    share = edit_distance(said, truth) / longest if longest else 0.0
    return 1.0 - share if share < TOLERANCE else 0.0


def edit_distance(one: str, other: str) -> int:
    """Levenshtein distance: the fewest letters to insert, delete or replace."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        above, row = row, [i]
        for j, wanted in enumerate(other, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (letter != wanted)))
    return row[-1]
