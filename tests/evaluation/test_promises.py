"""Promises of a confidence: kept where answers are alike, seen to be broken where they are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from laser_tools.evaluation import promises
from laser_tools.evaluation.arms import Outcome
from laser_tools.evaluation.judged import Pair
from laser_tools.options import LaserOptions
from tests.evaluation.fakes import said
from tests.evaluation.test_risk import answers

OPTIONS = LaserOptions(direct_margin=None)


def test_levels_are_kept_on_answers_of_the_same_kind() -> None:
    """Each draw may fail once in twenty: more than three of twenty would be odd (1.6 %)."""
    rng = np.random.default_rng(3)
    kept = promises.risk(answers(3000, rng), answers(3000, rng), OPTIONS)
    assert list(kept) == ["0.01", "0.02", "0.05", "0.1"]
    assert all(level.above <= 3 for level in kept.values())
    assert 0 < kept["0.05"].answered < kept["0.1"].answered < 1
    assert len(kept["0.1"].errors) == promises.DRAWS


def test_a_level_at_which_nothing_is_answered_is_not_met() -> None:
    rng = np.random.default_rng(3)
    kept = promises.risk(answers(400, rng), answers(400, rng), OPTIONS)["0.01"]
    assert (kept.answered, kept.errors, kept.met) == (0.0, (), False)


def test_a_level_that_is_broken_is_counted() -> None:
    """Of the test's answers a third is wrong, however sure they are."""
    rng = np.random.default_rng(3)
    broken = [_wrong(pair) if i % 3 == 0 else pair for i, pair in enumerate(answers(900, rng))]
    kept = promises.risk(answers(3000, rng), broken, OPTIONS)["0.1"]
    assert not kept.met
    assert kept.above == promises.DRAWS


def _wrong(pair: Pair) -> Pair:
    plain, laser = (replace(answer, right=False) for answer in pair)
    return plain, laser


def test_the_summary_names_levels_and_shifts() -> None:
    level = promises.LevelKept(answered=0.5, errors=(0.01, 0.03), above=1, met=True)
    shift = promises.Shifted(n=9, accuracy=0.5, ece=0.07, low=0.02, high=0.1, met=False)
    text = promises.summary(promises.Promises(risk={"0.02": level}, shift={"haze": shift}))
    assert "| 0.02 | 50.0 | 3.0 | 1 of 2 | yes |" in text
    assert "| haze | 9 | 50.0 | 0.070 [0.020, 0.100] | no |" in text


def outcomes(confidences: list[float | None]) -> list[Outcome]:
    """Every second answer is right."""
    found = [said("red").model_copy(update={"confidence": sure}) for sure in confidences]
    return [Outcome("", "", float(i % 2), None, 0.1, each) for i, each in enumerate(found)]


def test_a_shift_is_off_by_its_calibration_error() -> None:
    shift = promises.shifted(outcomes([0.9] * 40))
    assert shift.ece == pytest.approx(0.4)
    assert shift.low is not None
    assert shift.high is not None
    assert shift.low < 0.4 < shift.high
    assert not shift.met
    assert promises.shifted(outcomes([0.5] * 40)).met


def test_without_a_calibration_a_shift_has_no_error_and_is_not_met() -> None:
    shift = promises.shifted(outcomes([None] * 4))
    assert (shift.ece, shift.low, shift.high, shift.met) == (None, None, None, False)
    assert shift.accuracy == 0.5
