from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from laser_tools.errors import InvalidRequest
from laser_tools.evaluation import pictures
from laser_tools.evaluation.arms import Arm, run_arm, with_overrides
from laser_tools.evaluation.bench import Setup, Timed, bench, score_layers, time_ratios
from laser_tools.evaluation.report import BenchReport, by_group, markdown_table, paired_table
from laser_tools.options import LaserOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer, MethodName
from tests.evaluation import fakes

N = 40  # 20 of each type; of the 20 readings LASER misses every fourth


@pytest.fixture(scope="module")
def report() -> BenchReport:
    subject = fakes.FakeSubject()
    scores = score_layers(subject, fakes.items(8), LaserOptions())
    setup = Setup(split="test", seed=7, batch_size=16, timed=5, validation_by_layer=scores)
    return bench(subject, fakes.items(N), setup)


def test_report_counts_what_was_answered(report: BenchReport) -> None:
    assert (report.n, report.seed, report.model, report.fixed_layer) == (N, 7, "fake", 2)
    readings = {name: method.accuracy["reading"] for name, method in report.methods.items()}
    located = {"fixed-layer": 0.75, "best-layer": 0.75, "raw-attention": 0.75, "laser": 0.75}
    assert readings == {"plain": 0.0, **located, "oracle": 1.0}
    assert report.methods["laser"].accuracy["existence"] == 1.0
    assert report.methods["laser"].accuracy["overall"] == pytest.approx(35 / 40)
    low, high = report.methods["laser"].interval["reading"]
    assert low < 0.75 < high


def test_report_gap_hits_layers_and_maps(report: BenchReport) -> None:
    assert report.gap_closed == {
        "existence": None,
        "reading": 0.75,
        "overall": pytest.approx(0.75),
    }
    assert report.box_hit_rate == 0.75  # existence items have nothing to hit
    assert report.layers["reading"] == [0, 0, 20, 0]
    assert report.attention_aggregation == pytest.approx(
        {"raw": 0.25, "relative": 0.4, "contrastive": 1.0, "even": 0.25}
    )


def test_report_calibration_and_seconds(report: BenchReport) -> None:
    assert report.calibration is not None
    assert report.calibration.ece == pytest.approx(0.25)
    assert (report.calibration.auroc, report.calibration.auroc_softmax) == (1.0, 0.5)
    assert report.methods["laser"].seconds["attend"] == pytest.approx(0.1)
    assert "attend" not in report.methods["plain"].seconds
    assert report.time_ratio["overall"].n == report.time_ratio["verify"].n == 5


def test_report_has_the_promised_keys_and_survives_json(report: BenchReport) -> None:
    text = report.model_dump_json()
    plain = json.loads(text)
    assert {
        "n",
        "seed",
        "model",
        "best_layer",
        "methods",
        "gap_closed",
        "laser_against",
        "attention_aggregation",
        "box_hit_rate",
        "layers",
        "calibration",
    } <= set(plain)
    assert {"ece", "auroc", "auroc_softmax"} <= set(plain["calibration"])
    assert {"accuracy", "seconds"} <= set(plain["methods"]["laser"])
    assert BenchReport.model_validate_json(text) == report


def test_progress_and_batches_cover_every_item_once() -> None:
    subject = fakes.FakeSubject()
    steps: list[int] = []
    setup = Setup(split="test", methods=("plain",), batch_size=16)
    bench(subject, fakes.items(N), setup, steps.append)
    assert steps == subject.batch_sizes == [16, 16, 8]


def test_unknown_method_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="magic"):
        bench(fakes.FakeSubject(), [], Setup(split="test", methods=("magic",)))


def test_each_arm_is_laser_with_one_thing_changed() -> None:
    subject, options = fakes.FakeSubject(), LaserOptions(direct_margin=3.0)
    scores = (0.5, 0.75, 0.75, 0.5)  # of equal layers the first
    setup = Setup(split="test", options=options, validation_by_layer=scores, timed=0)
    report = bench(subject, fakes.items(2), setup)
    assert (report.best_layer, report.validation_by_layer) == (1, scores)
    plain, fixed, best, raw, laser, oracle, *_ = subject.asked
    assert plain == laser == oracle == options  # the oracle asks plainly first
    assert fixed == options.model_copy(update={"layer": 2})
    assert best == options.model_copy(update={"layer": 1})
    assert raw == options  # its method is another


def test_best_layer_needs_layers_to_choose_from() -> None:
    with pytest.raises(InvalidRequest, match="best-layer"):
        bench(fakes.FakeSubject(), [], Setup(split="test", methods=("best-layer",)))


def test_laser_is_held_against_every_other_method_item_by_item(report: BenchReport) -> None:
    plain, oracle = (report.laser_against[name]["reading"] for name in ("plain", "oracle"))
    assert (plain.wins, plain.losses) == (15, 0)
    assert plain.p == pytest.approx(2 / 2**15)
    assert (oracle.wins, oracle.losses) == (0, 5)
    assert report.laser_against["raw-attention"]["overall"].p == 1.0
    assert "laser" not in report.laser_against
    assert "| +15 -0, p 6.1e-05 |" in paired_table(report)


def test_counting_is_told_by_what_is_counted() -> None:
    first, second, third, fourth = fakes.items(4)
    items = [
        first,
        replace(second, group="counting", detail="shape"),
        replace(third, group="counting", detail="colour"),
        replace(fourth, group="counting", detail="shape"),
    ]
    outcomes = run_arm(fakes.FakeSubject().ask, Arm("laser", LaserOptions()), items)
    groups = {name: len(group) for name, group in by_group(outcomes).items()}
    assert groups == {
        "existence": 1,
        "counting": 3,
        "counting (colour)": 1,
        "counting (shape)": 2,
        "overall": 4,
    }
    assert list(groups)[2:4] == ["counting (colour)", "counting (shape)"]


def test_time_ratios_by_route() -> None:
    timed = [Timed("direct", 1.0, 1.0), Timed("verify", 1.0, 2.0), Timed("verify", 1.0, 4.0)]
    ratios = time_ratios(timed)
    assert {route: ratio.median for route, ratio in ratios.items()} == {
        "overall": 2.0,
        "direct": 1.0,
        "verify": 3.0,
    }
    assert ratios["overall"].mean == pytest.approx(7 / 3)
    assert time_ratios([]) == {}


def test_markdown_table_shows_share_interval_and_gap(report: BenchReport) -> None:
    lines = markdown_table(report).splitlines()
    assert len(lines) == 2 + 3  # head, rule, two types, overall
    assert "75.0 [53.1, 88.8]" in lines[3]
    assert lines[3].endswith("| 75.0 |")
    assert lines[2].endswith("| - |")


def test_pictures_are_drawn(report: BenchReport, tmp_path: Path) -> None:
    drawn = pictures.draw_all(report, tmp_path / "out")
    assert [path.name for path in drawn] == [
        "out.accuracy.png",
        "out.layers.png",
        "out.reliability.png",
    ]
    for path in drawn:
        with Image.open(path) as picture:
            assert len(picture.convert("L").getcolors(256) or []) > 5  # not blank


def test_overrides_are_typed_by_the_options() -> None:
    changed = with_overrides(
        LaserOptions(), ["readout=question", "k_head=None", "alpha=0.5", "layer=3"]
    )
    assert (changed.readout, changed.k_head, changed.alpha) == ("question", None, 0.5)
    assert changed.layer == 3


@pytest.mark.parametrize("pair", ["alpha", "alpa=1", "k_patch=7", "readout=first"])
def test_bad_overrides_are_one_sentence(pair: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        with_overrides(LaserOptions(), [pair])
    assert "\n" not in caught.value.public_text


def test_every_method_can_be_an_arm() -> None:
    asked: list[set[str]] = []

    class Subject(fakes.FakeSubject):
        def ask(
            self, requests: Sequence[AnswerRequest], options: LaserOptions
        ) -> list[GroundedAnswer]:
            asked.append({request.method for request in requests})
            return super().ask(requests, options)

    names = get_args(MethodName)
    found = bench(Subject(), fakes.items(4), Setup(split="test", methods=names, timed=0))
    assert asked == [{name} for name in names]
    assert list(found.methods) == list(names)
