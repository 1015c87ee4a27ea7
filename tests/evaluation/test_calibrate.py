from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from laser_tools.errors import InvalidRequest
from laser_tools.evaluation import calibrate as fitting
from laser_tools.evaluation.calibrate import Judged
from laser_tools.grounding.confidence import ANY_ROUTE, Calibration
from laser_tools.options import LaserOptions
from tests.evaluation import fakes


def drawn(n: int, route: str, seed: int) -> list[Judged]:
    """Answers that are right with probability sigmoid(2 margin - 1); `noise` says nothing."""
    rng = np.random.default_rng(seed)
    margins = rng.normal(0.5, 1.5, n)
    right = rng.random(n) < 1 / (1 + np.exp(1 - 2 * margins))
    noise = rng.normal(size=n)
    return [
        Judged(route, {"margin": float(m), "noise": float(x)}, 0.5, bool(r))
        for m, x, r in zip(margins, noise, right, strict=True)
    ]


@pytest.fixture(scope="module")
def fit() -> Calibration:
    pairs = zip(drawn(3600, "plain", 0), drawn(3600, "verify", 1), strict=True)
    return fitting.calibrate([list(pair) for pair in pairs], "abc", "validation")


def test_fit_finds_the_law_behind_the_answers(fit: Calibration) -> None:
    for margin in (-1.0, 0.0, 1.0, 2.0):
        found = fit.probability({"margin": margin, "noise": 0.3}, "verify")
        assert found == pytest.approx(1 / (1 + np.exp(1 - 2 * margin)), abs=0.05)


def test_held_out_figures_are_of_unseen_answers(fit: Calibration) -> None:
    assert fit.held_out is not None
    assert (fit.n, fit.held_out.n) == (2400, 1200)
    assert fit.held_out.ece < 0.05
    assert fit.held_out.auroc is not None
    assert fit.held_out.auroc > 0.8
    assert fit.held_out.auroc_softmax == 0.5


def test_unseen_answers_do_not_touch_the_fit() -> None:
    pairs = [[one] for one in drawn(600, "verify", 2)]
    twisted = [
        [Judged(p[0].route, p[0].features, 0.5, not p[0].right)] if i // 6 % 3 == 2 else p
        for i, p in enumerate(pairs)
    ]
    honest = fitting.calibrate(pairs, "abc", "validation")
    other = fitting.calibrate(twisted, "abc", "validation")
    assert honest.routes == other.routes
    assert honest.held_out != other.held_out


def test_a_rare_route_shares_the_common_fit() -> None:
    verify, zoom = drawn(600, "verify", 3), drawn(20, "zoom", 4)
    fit = fitting.calibrate([[one] for one in [*verify, *zoom]], "abc", "validation")
    assert set(fit.routes) == {ANY_ROUTE, "verify"}
    assert fit.probability({"margin": 1.0, "noise": 0.0}, "zoom") is not None


def test_infinite_margins_are_left_out() -> None:
    sole = Judged("verify", {"margin": float("inf"), "noise": 0.0}, 1.0, True)
    pairs = [[one] for one in [*drawn(600, "verify", 5), *[sole] * 12]]
    fit = fitting.calibrate(pairs, "abc", "validation")
    assert np.isfinite(fit.routes[ANY_ROUTE].weights).all()


def test_nothing_is_invented_from_too_little() -> None:
    few = [[one] for one in drawn(30, "verify", 6)]
    all_right = [[Judged("verify", {"margin": 1.0}, 0.5, True)]] * 200
    for pairs in (few, all_right):
        with pytest.raises(InvalidRequest, match="at least 60"):
            fitting.calibrate(pairs, "abc", "validation")


def test_stored_file_is_readable_and_bound_to_its_model(fit: Calibration, tmp_path: Path) -> None:
    path = fitting.store(fit, tmp_path)
    assert json.loads(path.read_text())["features"] == ["margin", "noise"]
    assert Calibration.load(path, "abc") == fit
    assert Calibration.load(path, "other") is None


def test_judge_asks_plain_and_laser_about_every_item() -> None:
    pairs = fitting.judge(fakes.FakeSubject().ask, fakes.items(20), LaserOptions())
    assert len(pairs) == 20
    assert {tuple(one.route for one in pair) for pair in pairs} == {("plain", "verify")}
    assert pairs[3][1].features["n_tokens"] == 1.0
