"""How many blocks of the documentation were run, whichever processes ran them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

WANTED, RUN, NOT_RUN = "docs block wanted", "docs block run", "docs block not run"
"""Properties that the tests record, one for each block; the last one's value is the reason."""


def lines(reports: Iterable[pytest.TestReport]) -> list[str]:
    """What to print after the tests; nothing if they met no block."""
    called = (report for report in reports if report.when == "call")
    noted = [note for report in called for note in report.user_properties]
    count = Counter(name for name, _ in noted)
    reasons = Counter(str(reason) for name, reason in noted if name == NOT_RUN)
    if not count[WANTED]:
        return []
    first = f"docs blocks run: {count[RUN]} of {count[WANTED]}; {count[NOT_RUN]} are not run:"
    return [first, *(f"  {n}  {reason}" for reason, n in sorted(reasons.items()))]
