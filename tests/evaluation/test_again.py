"""The margin for another look: as low as it can be without losing a right answer."""

from __future__ import annotations

from dataclasses import replace

from laser_tools.evaluation.again import fit_again_margin, looked_again
from laser_tools.evaluation.judged import Judged, Pair

PLAIN = Judged("plain", {"margin_first": 1.0}, 0.5, right=False)


def pair(margin: float, right: bool, right_closer: bool) -> Pair:
    laser = Judged("verify", {"margin_first": margin}, 0.5, right)
    return PLAIN, replace(laser, closer=replace(laser, right=right_closer))


def test_the_margin_gains_most_and_looks_least() -> None:
    gains = [pair(1.2, False, True), pair(3.1, False, True), pair(3.2, True, True)]
    loses = [pair(6.0, True, False), pair(9.0, True, True)]
    assert fit_again_margin(gains + loses) == 3.5
    assert fit_again_margin(gains) == 3.5
    assert fit_again_margin(loses) is None


def test_only_answers_in_doubt_are_replaced() -> None:
    doubtful, clear = pair(1.0, False, True), pair(5.0, True, False)
    assert looked_again(doubtful, 2.0)[1].right
    assert looked_again(clear, 2.0) == clear
    assert looked_again(doubtful, None) == doubtful
    assert looked_again((PLAIN, PLAIN), 2.0) == (PLAIN, PLAIN)
