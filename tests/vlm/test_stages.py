from __future__ import annotations

import pytest

from laser_tools.vlm import stages as module
from laser_tools.vlm.stages import Clock


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is one second later each time it is looked at."""
    times = iter(range(1000))
    monkeypatch.setattr(module, "perf_counter", lambda: float(next(times)))


@pytest.mark.usefixtures("ticks")
def test_a_stage_is_charged_to_those_who_took_part() -> None:
    clock = Clock(2)
    with clock.stage("encode", [0, 1]):
        pass
    with clock.stage("decode", [1]):
        pass
    with pytest.raises(RuntimeError), clock.stage("decode", [1]):
        raise RuntimeError
    first, second = clock.timings_s()  # 7 seconds in all, 4 of them in no stage
    assert first == {"encode": 0.5, "attend": 0.0, "crop": 0.0, "decode": 0.0, "total": 2.5}
    assert second == {"encode": 0.5, "attend": 0.0, "crop": 0.0, "decode": 2.0, "total": 4.5}


def test_a_stage_begins_and_ends_when_the_device_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wait takes ten seconds: only the one at the end belongs to the stage."""
    now = [0.0]

    def wait() -> None:
        now[0] += 10.0

    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    clock = Clock(1, wait)
    with clock.stage("attend", [0]):
        now[0] += 1.0
    (times,) = clock.timings_s()
    assert (times["attend"], times["total"]) == (11.0, 21.0)
