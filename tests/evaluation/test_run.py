"""Long runs: lines, resuming, errors that are kept, and the report made from lines alone."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from laser_tools.errors import (
    DeadlineExceeded,
    ImageRejected,
    InvalidRequest,
    LaserError,
    ModelUnavailable,
    TooLarge,
)
from laser_tools.evaluation import best_layer
from laser_tools.evaluation.arms import Arm
from laser_tools.evaluation.benchmarks.base import Item
from laser_tools.evaluation.run.heat import MAX_SIDE, Heat
from laser_tools.evaluation.run.jsonl import Appender, read_rows
from laser_tools.evaluation.run.lines import Lines, read_lines
from laser_tools.evaluation.run.report import RunReport, report_of, risk_coverage
from laser_tools.evaluation.run.setup import arms_of, instructed, questions, with_line
from laser_tools.evaluation.run.tables import markdown
from laser_tools.evaluation.same_answer import differences
from laser_tools.images.upright import UprightImage
from laser_tools.options import LaserOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer, Localisation
from tests.evaluation import fakes, runs
from tests.evaluation.test_benchmarks import Halves

ROOT = Path(__file__).parents[2]


def keys(path: Path) -> list[tuple[str, str]]:
    rows = [row for _, row in read_rows(path) if isinstance(row, dict) and "item" in row]
    return [(row["item"]["id"], row["method"]) for row in rows]


def without_times(found: Lines) -> dict[object, object]:
    lines = found.lines.values()
    return {
        line.key: line.judged.model_copy(update={"wall_s": 0.0}) if line.judged else line.error
        for line in lines
    }


# Kills


@pytest.mark.parametrize("seed", [1])
def test_a_run_killed_five_times_has_the_lines_of_an_undisturbed_one(
    seed: int, tmp_path: Path
) -> None:
    script = [sys.executable, "-m", "tests.evaluation.runs", str(tmp_path), str(seed)]
    subprocess.run(script, cwd=ROOT, check=True, timeout=280)
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    assert Counter(keys(killed)) == Counter(keys(whole))
    assert len(set(keys(whole))) == len(keys(whole)) == 2 * runs.QUESTIONS
    one, other = read_lines(whole), read_lines(killed)
    assert (one.broken, other.broken) == (0, 0)
    assert without_times(one) == without_times(other)
    asked = Counter((tmp_path / "killed.log").read_text(encoding="utf-8").splitlines())
    lost = sum(times - 1 for times in asked.values())
    assert lost <= runs.KILLS * runs.BATCH * len(runs.METHODS)  # only what was in flight


def test_a_torn_last_line_is_cut_off_and_asked_again(tmp_path: Path) -> None:
    path, items = tmp_path / "run.jsonl", runs.questions(8)
    subject = fakes.FakeSubject()
    runs.start(path, items, subject.ask)
    whole = path.read_bytes()
    for cut in (1, 40, len(whole.splitlines()[-1]) + 30):
        path.write_bytes(whole[:-cut])
        runs.start(path, items, subject.ask, resume=True)
        assert Counter(keys(path)) == Counter((i.id, m) for i in items for m in runs.METHODS)
        assert read_lines(path).broken == 0


def test_a_run_that_tore_in_its_first_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text('{"run": {"set"', encoding="utf-8")
    runs.start(path, runs.questions(2), fakes.FakeSubject().ask, resume=True)
    assert len(keys(path)) == 4


def test_a_broken_line_in_the_middle_is_counted_and_its_question_asked_again(
    tmp_path: Path,
) -> None:
    path, items = tmp_path / "run.jsonl", runs.questions(6)
    runs.start(path, items, fakes.FakeSubject().ask)
    rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*rows[:3], rows[3][:50], "[1]", *rows[4:]]) + "\n", "utf-8")
    subject = fakes.FakeSubject()
    runs.start(path, items, subject.ask, resume=True)
    assert len(subject.requests) == 1
    found = read_lines(path)
    assert (found.broken, len(found.lines)) == (2, 12)


# Going on


def test_nothing_is_asked_twice_and_what_is_new_is_asked(tmp_path: Path) -> None:
    path, subject = tmp_path / "run.jsonl", fakes.FakeSubject()
    assert runs.start(path, runs.questions(6), subject.ask) == [4, 2]
    assert runs.start(path, runs.questions(6), subject.ask, resume=True) == [1] * 6
    assert len(subject.requests) == 12
    more = runs.run_of(methods=(*runs.METHODS, "vcd"), n=8)
    told = runs.start(path, runs.questions(8), subject.ask, run=more, resume=True)
    assert told == [4, 4]
    assert len(subject.requests) == 8 * 3
    assert read_lines(path).run == more


def test_best_layer_goes_on_with_its_layer_alone(tmp_path: Path) -> None:
    path, subject = tmp_path / "run.jsonl", fakes.FakeSubject()
    asked = runs.run_of(methods=("plain", "best-layer"), best_layer=1)
    runs.start(path, runs.questions(2), subject.ask, run=asked)
    found = read_lines(path)
    assert found.run == asked
    assert "best-layer is layer 1." in markdown(report_of(found, Halves()))
    other = asked.model_copy(update={"best_layer": 2})
    with pytest.raises(InvalidRequest, match="its best_layer is 1, now it would be 2"):
        runs.start(path, runs.questions(4), subject.ask, run=other, resume=True)
    fewer = runs.run_of(methods=("plain",))
    runs.start(path, runs.questions(4), subject.ask, run=fewer, resume=True)


def test_best_layer_is_chosen_on_another_split() -> None:
    subject, mine = fakes.FakeSubject(), Halves()
    assert arms_of(["best-layer"], LaserOptions(), remote=False, layer=1) == [
        Arm("best-layer", LaserOptions(layer=1))
    ]
    with pytest.raises(InvalidRequest, match="name it"):
        arms_of(["best-layer"], LaserOptions(), remote=False)
    with pytest.raises(InvalidRequest, match="layers 0 to"):
        best_layer.check_layer(subject, subject.n_layers)
    assert best_layer.choosing_split(mine, "test") == "validation"
    with pytest.raises(InvalidRequest, match="no other split"):
        best_layer.choosing_split(mine, "validation")
    assert best_layer.chosen_layer(subject, mine, "test", 0, LaserOptions()) == 0
    assert {options.layer for options in subject.asked} == set(range(subject.n_layers))


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path, subject = tmp_path / "run.jsonl", fakes.FakeSubject()
    runs.start(path, runs.questions(2), subject.ask)
    before = path.read_bytes()
    with pytest.raises(InvalidRequest, match="--resume"):
        runs.start(path, runs.questions(2), subject.ask)
    with pytest.raises(InvalidRequest, match="its seed is 0, now it would be 1"):
        runs.start(path, runs.questions(2), subject.ask, run=runs.run_of(seed=1), resume=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ['{"question": "my own work"}\nno line feed', "a diary\n"])
def test_the_file_of_something_else_is_left_alone(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidRequest, match="not the file of a run"):
        runs.start(path, runs.questions(2), fakes.FakeSubject().ask, resume=True)
    assert path.read_text(encoding="utf-8") == text


def test_two_runs_do_not_share_a_file(tmp_path: Path) -> None:
    with (
        Appender(tmp_path / "run.jsonl"),
        pytest.raises(InvalidRequest, match=r"Another run writes to .*run\.jsonl"),
    ):
        Appender(tmp_path / "run.jsonl")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from laser_tools.errors import LaserError
from laser_tools.evaluation.run.jsonl import Appender
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with Appender(Path(sys.argv[1])) as file:
    try:
        while True:
            file.append(['{"line": "' + 90 * "x" + '"}'] * 2)
    except LaserError as error:
        print(error.public_text)
"""


def test_a_full_disk_leaves_whole_lines_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    script = [sys.executable, "-c", FULL_DISK, str(path)]
    told = subprocess.run(script, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    assert "cannot be written: File too large" in told.stdout
    assert "go on with --resume" in told.stdout
    rows = list(read_rows(path))
    assert rows
    assert len(rows) % 2 == 0
    assert all(isinstance(row, dict) for _, row in rows)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000  # of the script alone


# Errors


class Fails:
    """The fake subject, but for questions that fail."""

    def __init__(self, **errors: LaserError) -> None:
        self.subject, self.errors = fakes.FakeSubject(), errors
        self.sizes: list[int] = []

    def ask(self, requests: Sequence[AnswerRequest], options: LaserOptions) -> list[GroundedAnswer]:
        self.sizes.append(len(requests))
        for request in requests:
            error = self.errors.get("n" + request.question.rstrip("?").split()[1])
            if error:
                raise error
        return self.subject.ask(requests, options)


def test_an_error_of_one_question_is_a_line_and_the_others_are_answered(tmp_path: Path) -> None:
    path, asker = tmp_path / "run.jsonl", Fails(n1=TooLarge(), n2=InvalidRequest("Too long."))
    runs.start(path, runs.questions(4), asker.ask)
    errors = {k: line.error for k, line in read_lines(path).lines.items() if line.error}
    assert {key: error.code for key, error in errors.items()} == {
        ("q1", "plain"): "too_large",
        ("q1", "laser"): "too_large",
        ("q2", "plain"): "invalid_request",
        ("q2", "laser"): "invalid_request",
    }
    assert errors["q2", "laser"].text == "Too long."


def test_going_on_asks_errors_again_and_counts_them_once(tmp_path: Path) -> None:
    path, items = tmp_path / "run.jsonl", runs.questions(4)
    runs.start(path, items, Fails(n1=TooLarge(), n2=TooLarge()).ask)
    assert runs.start(path, items, Fails(n2=TooLarge()).ask, resume=True) == [1, 1, 2]
    found = read_lines(path)
    assert [key for key, line in found.lines.items() if line.error] == [
        ("q2", "plain"), ("q2", "laser"),
    ]  # fmt: skip
    plain = report_of(found, Halves()).methods["plain"]
    assert (plain.n, plain.errors) == (3, {"too_large": 1})
    again = fakes.FakeSubject()
    runs.start(path, items, again.ask, resume=True)
    assert len(again.requests) == 2  # by each method
    assert not any(line.error for line in read_lines(path).lines.values())


def test_a_question_out_of_bounds_is_a_line(tmp_path: Path) -> None:
    items = runs.questions(2)
    items[1] = replace(items[1], question="long " * 500)
    errors = [line.error for line in started(tmp_path, items).lines.values() if line.error]
    assert [error.code for error in errors] == ["invalid_request"] * 2
    assert errors[0].text.startswith("The question cannot be used: ")


def test_an_error_of_the_worker_ends_the_run_which_can_go_on(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with pytest.raises(ModelUnavailable):
        runs.start(path, runs.questions(12), Fails(n9=ModelUnavailable("Gone.")).ask)
    assert len(keys(path)) == 2 * 8  # two whole batches
    runs.start(path, runs.questions(12), fakes.FakeSubject().ask, resume=True)
    assert len(keys(path)) == 2 * 12


def test_a_worker_that_answers_nobody_ends_the_run(tmp_path: Path) -> None:
    late = {f"n{i}": DeadlineExceeded(1.0) for i in range(4)}
    with pytest.raises(DeadlineExceeded):
        runs.start(tmp_path / "run.jsonl", runs.questions(8), Fails(**late).ask)


def refused() -> UprightImage:
    raise ImageRejected("The picture x.jpg is missing.")


def test_a_picture_that_cannot_be_had_is_a_line(tmp_path: Path) -> None:
    items = runs.questions(4)
    items[2] = replace(items[2], image=refused)
    found = started(tmp_path, items)
    assert [key for key, line in found.lines.items() if line.error] == [
        ("q2", "plain"),
        ("q2", "laser"),
    ]
    report = report_of(found, Halves())
    assert report.n == 3
    assert report.methods["laser"].errors == {"image_rejected": 1}
    assert "1 image_rejected" in markdown(report)
    assert "197 more have an error or were not asked yet." in markdown(report)


def started(folder: Path, items: Sequence[Item]) -> Lines:
    path = folder / "run.jsonl"
    runs.start(path, items, fakes.FakeSubject().ask)
    return read_lines(path)


# Report


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    return report_of(started(tmp_path_factory.mktemp("run"), runs.questions(40)), Halves())


def test_a_report_is_made_of_lines_alone(report: RunReport) -> None:
    laser, plain = report.methods["laser"], report.methods["plain"]
    assert (report.n, report.broken_lines) == (40, 0)
    assert report.model == "fake"
    assert plain.accuracy == {"existence": 1.0, "reading": 0.0, "overall": 0.5}
    assert laser.accuracy["reading"] == 0.75
    low, high = laser.interval["reading"]
    assert low < 0.75 < high
    assert (laser.hit, plain.hit) == (0.75, None)
    assert (laser.aggregation, plain.aggregation) == (1.0, None)
    assert laser.layers["reading"] == [0, 0, 20, 0]
    assert laser.official == {"accuracy": 35 / 40}
    assert (laser.passes, plain.seconds_ratio) == (None, 1.0)


def test_every_method_is_held_against_plain_and_laser(report: RunReport) -> None:
    assert set(report.against_plain) == {"laser"}
    assert set(report.against_laser) == {"plain"}
    gain = report.against_plain["laser"]
    assert (gain.wins, gain.losses) == (15, 0)
    assert gain.p == pytest.approx(2 / 2**15)
    assert report.against_laser["plain"].losses == 15


def test_the_report_survives_json_and_names_metric_and_line(report: RunReport) -> None:
    assert RunReport.model_validate_json(report.model_dump_json()) == report
    text = markdown(report)
    assert "Metric: exact match." in text
    assert "Nothing is put after a question." in text
    assert "| laser | 87.5 |" in text
    assert "| laser | +15 | -0 | 6.1e-05 |" in text


def test_the_surest_answers_come_first_in_risk_and_coverage(report: RunReport) -> None:
    risk = report.methods["laser"].risk  # right ones are .75 sure, wrong ones .25
    assert risk[-1] == (1.0, 5 / 40)
    assert dict(risk)[0.85] == 0.0


def test_without_a_calibration_nothing_is_invented(tmp_path: Path) -> None:
    subject = fakes.FakeSubject()

    def ask(requests: Sequence[AnswerRequest], options: LaserOptions) -> list[GroundedAnswer]:
        return [a.model_copy(update={"confidence": None}) for a in subject.ask(requests, options)]

    path = tmp_path / "run.jsonl"
    runs.start(path, runs.questions(8), ask)
    made = report_of(read_lines(path), Halves())
    assert made.methods["laser"].risk == ()
    assert made.methods["laser"].calibration.ece is None
    row = next(line for line in markdown(made).splitlines() if line.startswith("| laser |"))
    assert row.endswith("| - | - | 0 |")


def test_methods_that_answered_nothing_leave_a_report(tmp_path: Path) -> None:
    items = [replace(item, image=refused) for item in runs.questions(2)]
    made = report_of(started(tmp_path, items), Halves())
    assert (made.n, made.methods) == (0, {})
    assert "No question was answered by every method." in markdown(made)
    assert "laser answered nothing (2 image_rejected)." in markdown(made)


def test_a_method_that_answers_nothing_does_not_hide_the_others(tmp_path: Path) -> None:
    path, subject = tmp_path / "run.jsonl", fakes.FakeSubject()

    def ask(requests: Sequence[AnswerRequest], options: LaserOptions) -> list[GroundedAnswer]:
        if requests[0].method == "laser":
            raise InvalidRequest("Not with this model.")
        return subject.ask(requests, options)

    runs.start(path, runs.questions(4), ask)
    made = report_of(read_lines(path), Halves())
    assert (made.n, list(made.methods)) == (4, ["plain"])
    assert made.silent == {"laser": {"invalid_request": 4}}


def test_risk_of_nothing_is_nothing() -> None:
    assert risk_coverage([]) == ()


# Parts


@pytest.mark.parametrize("size", [(2, 3), (32, 32), (33, 70), (100, 1)])
def test_a_map_is_kept_small_and_true_to_a_level(size: tuple[int, int]) -> None:
    grid = np.random.default_rng(0).random(size)
    rows = tuple(tuple(float(cell) for cell in row) for row in grid)
    heat = Heat.of(Localisation(layer_idx=0, vaq=(), map=rows, map_box=fakes.FULL))
    assert max(heat.rows, heat.columns) <= MAX_SIDE
    kept = heat.grid()
    assert kept.shape == (heat.rows, heat.columns)
    assert kept.max() == 1.0
    if max(size) <= MAX_SIDE:
        np.testing.assert_allclose(kept, grid / grid.max(), atol=0.5 / 255)
    again = Heat.model_validate_json(heat.model_dump_json())
    assert again == heat


def test_a_map_of_nothing_stays_nothing() -> None:
    where = Localisation(layer_idx=0, vaq=(), map=((0.0, 0.0),), map_box=fakes.FULL)
    assert Heat.of(where).grid().tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("methods", "remote", "told"),
    [
        (("magic",), False, "not 'magic'"),
        (("plain", "plain"), False, "twice"),
        (("oracle",), True, "oracle needs a model in this process"),
    ],
)
def test_methods_that_cannot_be_asked(methods: tuple[str, ...], remote: bool, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        arms_of(methods, LaserOptions(), remote)


def test_the_line_of_a_set_goes_into_options_or_the_question() -> None:
    mine = Halves()
    mine.instruction = "Answer briefly."
    assert instructed(LaserOptions(), mine).answer_instruction == "Answer briefly."
    own = LaserOptions(answer_instruction="In one word.")
    assert instructed(own, mine) == own
    item = fakes.items(1)[0]
    assert with_line(item, "Answer briefly.").question == "existence 0?\nAnswer briefly."
    assert with_line(item, "") == item


def test_the_first_split_is_asked_where_nobody_says() -> None:
    asked = questions(Halves(), None, 4, 0)
    assert (asked.split, len(asked), len(list(asked))) == ("validation", 4, 4)
    assert [item.id for item in asked] == [item.id for item in asked]


def test_what_an_answer_was_survives_its_line(tmp_path: Path) -> None:
    found = started(tmp_path, runs.questions(4))
    subject = fakes.FakeSubject()
    item = runs.questions(4)[3]
    request = AnswerRequest(image=item.image(), question=item.question)
    (fresh,) = subject.ask([request], LaserOptions())
    line = found.lines["q3", "laser"]
    assert line.judged is not None
    assert all("localisation.map" in each for each in differences(line.judged.answer, fresh))
    assert line.judged.heat is not None
    assert line.judged.heat.grid().tolist() == [[0.0, 1.0], [0.0, 0.0]]
    assert line.item.item().references == item.references
    with pytest.raises(InvalidRequest, match="--data"):
        line.item.item().image()


def test_a_line_is_one_line(tmp_path: Path) -> None:
    items = [replace(item, question=f"{item.question}\n\u2028 A.") for item in runs.questions(2)]
    path = tmp_path / "run.jsonl"
    runs.start(path, items, lambda requests, _: [fakes.said("a\nb") for _ in requests])
    rows = path.read_bytes().split(b"\n")
    assert len(rows) == 1 + 4 + 1
    assert all(json.loads(row) for row in rows[:-1])
