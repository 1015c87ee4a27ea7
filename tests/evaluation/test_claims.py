"""Claims from reports whose numbers are made by hand."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from laser_tools.evaluation.claims import claims, difference, one_sided
from laser_tools.evaluation.report import (
    BenchReport,
    CalibrationReport,
    MethodReport,
    Paired,
    claims_table,
)

N = 300
TYPES = ("reading", "neighbour reading", "tiny", "habit", "same label", "none")


def method(accuracy: float = 0.5, **more: dict[str, float]) -> MethodReport:
    return MethodReport(
        n={**dict.fromkeys(TYPES, N), "overall": N * len(TYPES)},
        accuracy={**dict.fromkeys(TYPES, accuracy), "overall": accuracy},
        interval={},
        box_hit_rate={},
        routes={},
        seconds={},
        **more,
    )


def report(**against: dict[str, tuple[int, int]]) -> BenchReport:
    """`against`: method -> type -> (wins, losses); types that are not named have none."""
    return BenchReport(
        n=N * len(TYPES),
        seed=0,
        split="test",
        model="made up",
        options={},
        fixed_layer=None,
        methods={
            "laser": method(
                0.9,
                confidence={"none": 0.1, "reading": 0.9},
                said_so={"none": 0.96, "reading": 0.9},
                abstained={**dict.fromkeys(TYPES, 0.02), "none": 0.9},
            ),
            "plain": method(),
        },
        laser_against={
            name.replace("_", "-"): {
                kind: Paired(wins=wins, losses=losses, p=1)
                for kind in TYPES
                for wins, losses in [given.get(kind, (0, 0))]
            }
            for name, given in against.items()
        },
        gap_closed={"overall": 0.85},
        calibration=CalibrationReport(n=1, ece=0.019, auroc=0.9, auroc_softmax=0.8),
    )


def test_a_difference_is_of_the_same_questions() -> None:
    found = difference(60, 20, 400)
    assert found.value == pytest.approx(0.1)
    assert found.p == pytest.approx(binomtest(60, 80).pvalue)
    # Var of the mean of +1 (60), -1 (20) and 0 (320): (0.2 - 0.01) / 400
    assert found.low == pytest.approx(0.1 - 1.96 * 0.02179, abs=1e-4)
    assert found.high == pytest.approx(0.1 + 1.96 * 0.02179, abs=1e-4)
    assert one_sided(3, 9) == pytest.approx(binomtest(3, 12, alternative="less").pvalue)


def test_gains_are_met_or_missed_by_size_and_by_chance() -> None:
    found = claims(
        report(
            plain={"reading": (160, 5), "same label": (100, 10)},
            one_crop={"tiny": (100, 0)},
            without_vat={"habit": (20, 2)},
            best_layer={"reading": (20, 0), "neighbour reading": (20, 0)},
            raw_attention={"reading": (40, 0), "tiny": (20, 0)},
        )
    )
    assert found["reading"].met
    assert found["reading"].value == pytest.approx(155 / 300)
    assert found["two_places"].met
    assert not found["tiny"].met  # 33 points of 40
    assert found["vat"].met
    assert found["vaq"].met
    assert found["vaq"].value == pytest.approx(40 / 600)
    assert found["contrast"].met
    assert found["contrast"].value == pytest.approx(60 / 1200)
    by_chance = claims(report(without_vat={"habit": (55, 40)}))["vat"]
    assert by_chance.value == pytest.approx(0.05)
    assert not by_chance.met


def test_the_type_that_loses_most_decides_what_is_lost() -> None:
    found = claims(report(plain={"tiny": (2, 12), "habit": (1, 3)}, without_vat={"tiny": (0, 4)}))
    assert (found["no_harm"].at, found["no_harm"].met) == ("tiny", False)
    assert found["no_harm"].p == pytest.approx(binomtest(2, 14, alternative="less").pvalue)
    assert (found["vat_cost"].at, found["vat_cost"].met) == ("tiny", False)
    unsaid = claims(report(plain={"none": (0, 99)}))["no_harm"]
    assert (unsaid.at, unsaid.met) == ("none", False)


def test_what_is_said_of_questions_without_an_answer() -> None:
    found = claims(report(plain={}))
    assert found["none_confidence"].met
    assert found["none_said"].met
    assert found["none_cost"].met
    assert found["none_cost"].value == pytest.approx(0.02)
    assert found["ece"].met
    assert not found["gap_closed"].met


def test_claims_without_their_methods_are_not_made() -> None:
    assert not {"vat", "vaq", "contrast", "tiny"} & set(claims(report(plain={})))


def test_the_table_says_missed() -> None:
    text = claims_table(claims(report(plain={"reading": (10, 0)})))
    assert "| reading | 0.033 [" in text
    assert "| >= +0.50 | **missed** |" in text
    assert "| ece | 0.019 |" in text
