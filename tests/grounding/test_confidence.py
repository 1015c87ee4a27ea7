from __future__ import annotations

import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from laser_tools.errors import ModelUnavailable
from laser_tools.grounding.confidence import (
    ANY_ROUTE,
    LOOK_FEATURES,
    Calibration,
    Logistic,
    features,
)
from laser_tools.options import PAPER, LaserOptions
from laser_tools.schema import Box, Evidence, GroundedAnswer, Localisation, Said, TokenMargin

LOGISTIC = Logistic(mean=(1.0, 0.0), scale=(2.0, 1.0), weights=(3.0, -1.0), intercept=0.5)


def calibration(**routes: Logistic) -> Calibration:
    return Calibration(
        model_hash="abc",
        n=10,
        split="validation",
        options=LaserOptions(),
        features=("a", "b"),
        routes=routes,
    )


BOX = Box(x0=0, y0=0, x1=1, y1=1)
LOOKED = Localisation(layer_idx=1, vaq=(0.1, 0.3), map=((1.0,),), map_box=BOX)


def grounded(*tokens: TokenMargin, looked: Localisation | None = LOOKED) -> GroundedAnswer:
    evidence = (Evidence(box=BOX, score=0.25),)
    return GroundedAnswer(
        answer="red",
        confidence=None,
        route="verify",
        method="laser",
        model="toy",
        image_size=(4, 4),
        evidence=evidence,
        localisation=looked,
        margins=tokens,
    )


def test_features_are_named_and_finite() -> None:
    first = TokenMargin(token="re", probability=0.5, margin=2.0, vat_margin=1.0)
    second = TokenMargin(token="d", probability=0.0, margin=0.5, vat_margin=None)
    found = features(grounded(first, second))
    assert found["margin_first"] == 2.0
    assert found["margin_min"] == 0.5
    assert found["vat_margin_first"] == found["vat_margin_min"] == 1.0
    assert found["n_tokens"] == 2.0
    assert found["evidence_share"] == 0.25
    assert found["vaq"] == 0.3  # the chosen layer's
    assert set(found) >= LOOK_FEATURES
    assert all(math.isfinite(value) for value in found.values())
    nowhere = features(grounded(first, second, looked=None))
    assert nowhere == found | {"vaq": 0.0}


def test_a_second_opinion_is_a_feature() -> None:
    token = TokenMargin(token="red", probability=0.5, margin=2.0, vat_margin=None)
    other = token.model_copy(update={"margin": 0.5})
    answer, names = grounded(token), ("plain_agrees", "plain_margin_min")

    def opinion(**changes: object) -> tuple[float, ...]:
        found = features(answer.model_copy(update=changes))
        return tuple(found[name] for name in names)

    assert opinion() == (0.0, 0.0)
    assert opinion(plain=Said(answer="Red", margins=(other,))) == (1.0, 0.5)
    assert opinion(plain=Said(answer="blue", margins=(other,))) == (0.0, 0.5)
    assert opinion(route="direct") == (1.0, 2.0)  # it is what the whole image says


def test_the_whole_images_first_token_is_a_feature() -> None:
    token = TokenMargin(token="red", probability=0.5, margin=2.0, vat_margin=1.5)
    other = TokenMargin(token="Red", probability=0.5, margin=0.5, vat_margin=None)

    def found(*tokens: TokenMargin, **changes: object) -> tuple[float, ...]:
        by_name = features(grounded(*tokens).model_copy(update=changes))
        names = ("begins_alike", "begin_margin", "alike_begin_margin", "one_token_alike")
        return tuple(by_name[name] for name in names)

    assert found(token) == (0.0, 0.0, 0.0, 0.0)  # not known
    assert found(token, plain_begins=other) == (1.0, 0.5, 0.5, 1.0)
    assert found(token, token, plain_begins=other) == (1.0, 0.5, 0.5, 0.0)
    unlike = other.model_copy(update={"token": "blue"})
    assert found(token, plain_begins=unlike) == (0.0, 0.5, 0.0, 0.0)
    assert found(token, route="direct") == (1.0, 2.0, 2.0, 1.0)  # it is its own beginning


def test_answers_of_one_token_have_margins_of_their_own() -> None:
    token = TokenMargin(token="red", probability=0.5, margin=2.0, vat_margin=1.5)
    names = ("one_token", "one_token_margin", "one_token_vat_margin")
    short, long = features(grounded(token)), features(grounded(token, token))
    assert [short[name] for name in names] == [1.0, 2.0, 1.5]
    assert [long[name] for name in names] == [0.0, 0.0, 0.0]


def test_an_answer_without_a_decided_token_has_no_features() -> None:
    assert features(grounded()) == {}


def test_the_logistic_is_the_sigmoid_of_scaled_features() -> None:
    expected = 1 / (1 + math.exp(-(0.5 + 3.0 * (5.0 - 1.0) / 2.0 - 2.0)))
    assert LOGISTIC.probability((5.0, 2.0)) == pytest.approx(expected)
    assert LOGISTIC.probability((-1e9, 0.0)) == 0.0  # no overflow


def test_a_route_uses_its_own_logistic_or_the_common_one() -> None:
    values = {"a": 5.0, "b": 2.0, "unused": 9.0}
    other = LOGISTIC.model_copy(update={"intercept": -9.0})
    both = calibration(verify=other, any=LOGISTIC)
    assert ANY_ROUTE == "any"
    assert both.probability(values, "verify") == other.probability((5.0, 2.0))
    assert both.probability(values, "zoom") == LOGISTIC.probability((5.0, 2.0))


def test_no_probability_is_invented() -> None:
    assert calibration(verify=LOGISTIC).probability({"a": 1.0, "b": 1.0}, "zoom") is None
    assert calibration(any=LOGISTIC).probability({"a": 1.0}, "zoom") is None
    assert calibration(any=LOGISTIC).probability({"a": math.inf, "b": 1.0}, "zoom") is None


def test_a_calibration_of_another_model_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    assert Calibration.load(path, "abc") is None
    path.write_text(calibration(any=LOGISTIC).model_dump_json(), encoding="utf-8")
    assert Calibration.load(path, "abc") == calibration(any=LOGISTIC)
    assert Calibration.load(path, "abd") is None


@pytest.mark.parametrize("missing", ["options", "features"])
def test_a_file_that_lacks_what_is_needed_is_told(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(calibration(any=LOGISTIC).model_dump_json(exclude={missing}), encoding="utf-8")
    with pytest.raises(ModelUnavailable, match="laser-tools calibrate"):
        Calibration.load(path, "abc")


def test_a_file_that_is_not_json_is_told(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(ModelUnavailable, match="damaged"):
        Calibration.load(path, "abc")


def test_a_fit_holds_for_the_options_it_was_made_with() -> None:
    fit = calibration(any=LOGISTIC)
    assert fit.holds_for("laser", LaserOptions(max_evidence=1, zoom_template="Find {what}."))
    for other in (
        LaserOptions(view="crop"),
        LaserOptions(gate="router"),
        LaserOptions(direct_margin=1.0),
        PAPER,
    ):
        assert not fit.holds_for("laser", other)
        assert fit.holds_for("plain", other)
    assert not fit.holds_for("plain", LaserOptions(answer_instruction="Answer briefly."))


def test_a_logistic_that_does_not_fit_its_features_is_refused() -> None:
    with pytest.raises(ValidationError, match="same length"):
        Logistic(mean=(1.0,), scale=(1.0,), weights=(1.0, 2.0), intercept=0.0)
    with pytest.raises(ValidationError, match="above zero"):
        Logistic(mean=(1.0,), scale=(0.0,), weights=(1.0,), intercept=0.0)
    short = Logistic(mean=(1.0,), scale=(1.0,), weights=(1.0,), intercept=0.0)
    with pytest.raises(ValidationError, match="one weight per feature"):
        calibration(any=short)
