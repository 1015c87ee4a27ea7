from __future__ import annotations

import pytest

from laser_tools.errors import DeadlineExceeded
from laser_tools.stop import never, within


def test_a_deadline_counts_from_when_it_was_set() -> None:
    now_s = [100.0]
    stop = within(2.5, clock=lambda: now_s[0])
    now_s[0] = 102.4
    assert not stop()
    now_s[0] = 102.5
    with pytest.raises(DeadlineExceeded, match=r"within 2\.5 s"):
        stop()


def test_a_deadline_still_asks_the_caller() -> None:
    assert within(60.0, lambda: True)()
    assert not within(60.0, never)()
