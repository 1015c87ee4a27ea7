"""Answers as a fit sees them: features, and whether they were right."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Judged:
    """One answer."""

    route: str
    features: dict[str, float]
    softmax: float
    right: bool
    abstained: bool = False  # it was empty, or said that there is no answer
    picture: str = ""  # what the question was about; "" is a picture of its own
    second: Judged | None = None  # the whole image's answer in its place, if that is another
    closer: Judged | None = None  # the answer after another look, where the margin for it is open


Pair = tuple[Judged, Judged]
"""The plain answer to one question, and LASER's without its gate."""
