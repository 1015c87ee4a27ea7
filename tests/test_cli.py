from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from laser_tools import cli
from laser_tools.cli import console
from laser_tools.doctor import checks as doctor
from laser_tools.evaluation import calibrate as fitting
from laser_tools.evaluation.arms import Arm, Outcome, run_arm
from laser_tools.evaluation.ask import Ask
from laser_tools.evaluation.bench import METHODS
from laser_tools.evaluation.benchmarks.base import Item, Score
from laser_tools.evaluation.fit_report import FitReport
from laser_tools.evaluation.report import BenchReport
from laser_tools.evaluation.same_answer import differences
from laser_tools.schema import MethodName
from tests import toys

METHOD_NAMES = get_args(MethodName)
HEAVY = ("torch", "transformers", "matplotlib", "sklearn", "numpy", "langchain_core")
TINY_BENCH = ("bench", "microscenes", "--n", "6", "--split", "validation")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the toy LLaVA: random weights, four layers."""
    folder = tmp_path_factory.mktemp("models") / "toy"
    vlm = toys.toy_llava()
    vlm.model.save_pretrained(folder)
    vlm.processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "scene.png"
    toys.picture().pixels.save(path)
    return str(path)


def out_of(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """Standard output of a command that succeeds."""
    code = cli.run(arguments)
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def trouble_of(capsys: pytest.CaptureFixture[str], arguments: Sequence[str], code: int = 2) -> str:
    """The one sentence on stderr of a command that fails with `code`."""
    assert cli.run(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    sentence = captured.err.rpartition("\r")[2]  # a slow machine showed, and cleared, a bar first
    assert sentence.count("\n") == captured.err.count("\n") == 1
    assert sentence.startswith("laser-tools: ")
    return sentence


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(argument: str) -> None:
    code = (
        "import sys; from laser_tools import cli; code = cli.run(sys.argv[1:]); "
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), code)"
    )
    run = [sys.executable, "-c", code, argument]
    done = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[] 0"
    assert "laser-tools" in done.stdout


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    commands = (
        "ask",
        "zoom",
        "compare",
        "doctor",
        "bench microscenes",
        "bench choices",
        "bench confidence",
        "bench speed",
        "bench run",
        "bench report",
        "batch",
        "bench visor",
        "microscenes",
        "calibrate",
        "visor probe",
        "serve",
    )
    for command in commands:
        assert "Usage: laser-tools " + command in out_of(capsys, [*command.split(), "--help"])


@pytest.mark.parametrize("group", [(), ("bench",), ("visor",)])
def test_without_a_command_the_help_is_readable(
    group: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The summary of each command of ours fits on its line."""
    assert group or "..." not in out_of(capsys, group).partition("Commands:")[2]
    assert out_of(capsys, group) == out_of(capsys, [*group, "--help"])


def test_ask_compares_and_draws(
    capsys: pytest.CaptureFixture[str], model: str, image: str, tmp_path: Path
) -> None:
    figure = tmp_path / "evidence.png"
    text = out_of(
        capsys,
        ["ask", image, "what is there?", "--model", model, "--compare", "--save", str(figure)],
    )
    plain, laser = text.index("  plain "), text.index("  laser ")
    assert plain < laser
    assert "chosen by VAQ" not in text  # the default map is made from all layers
    for fact in ("layer", "evidence", "crop", "route verify", "seconds", "not calibrated"):
        assert fact in text[laser:]
    with Image.open(figure) as drawn:
        assert drawn.width == 1440


def test_compare_asks_every_method_and_draws(
    capsys: pytest.CaptureFixture[str], model: str, image: str, tmp_path: Path
) -> None:
    figure = tmp_path / "compare.png"
    shared = ["compare", image, "what is there?", "--model", model, "--max-new-tokens", "2"]
    question, head, *rows, wrote = out_of(capsys, [*shared, "--save", str(figure)]).splitlines()
    assert (question, wrote) == ("what is there?", f"wrote {figure}")
    assert " ".join(head.split()) == "method answer confidence route layer passes seconds crop"
    assert [row.split()[0] for row in rows] == list(METHOD_NAMES)
    with Image.open(figure) as drawn:
        assert drawn.height > drawn.width
    chosen = json.loads(out_of(capsys, [*shared, "--methods", "vicrop, plain", "--json"]))
    assert list(chosen["answers"]) == ["vicrop", "plain"]
    assert all(answer["prefix_hits"] == 1 for answer in chosen["answers"].values())
    assert all(answer["passes"] > 0 for answer in chosen["answers"].values())


def test_compare_names_the_methods_there_are(
    capsys: pytest.CaptureFixture[str], model: str, image: str
) -> None:
    asked = ["compare", image, "what?", "--model", model, "--methods", "laser,seal"]
    assert "no method 'seal'; there are plain, laser" in trouble_of(capsys, asked)


def test_an_option_is_set_for_every_compared_method_that_has_it(
    capsys: pytest.CaptureFixture[str], model: str, image: str
) -> None:
    shared = ["compare", image, "what?", "--model", model, "--methods", "plain,laser,vicrop"]
    told = json.loads(out_of(capsys, [*shared, "--options", "layer=1", "--json"]))["answers"]
    layers = [told[name]["localisation"]["layer_idx"] for name in ("laser", "vicrop")]
    assert (layers, told["plain"]["localisation"]) == ([1, 1], None)
    assert "has an option 'keep=0.1'" in trouble_of(capsys, [*shared, "--options", "keep=0.1"])


def test_ask_prints_json_that_holds_the_evidence(
    capsys: pytest.CaptureFixture[str], model: str, image: str
) -> None:
    arguments = ["ask", image, "what is there?", "--model", model, "--choice", "red", "--choice"]
    found = json.loads(out_of(capsys, [*arguments, "blue", "--json"]))
    laser = found["answers"]["laser"]
    assert laser["answer"] in ("red", "blue")
    assert laser["confidence"] is None
    assert len(laser["localisation"]["vaq"]) == 4
    assert laser["image_size"] == [300, 260]


def test_ask_looks_into_the_box_it_is_given(
    capsys: pytest.CaptureFixture[str], model: str, image: str
) -> None:
    arguments = ["ask", image, "what?", "--model", model, "--box", "10,20,60,70", "--json"]
    crop = json.loads(out_of(capsys, arguments))["answers"]["laser"]["crop_boxes"][0]
    assert crop["x0"] <= 10 < 60 <= crop["x1"]
    assert crop["y0"] <= 20 < 70 <= crop["y1"]


def test_options_reach_the_method(
    capsys: pytest.CaptureFixture[str], model: str, image: str
) -> None:
    arguments = ["ask", image, "what?", "--model", model, "--options", "layer=3", "--json"]
    answers = json.loads(out_of(capsys, arguments))["answers"]
    assert [answer["localisation"]["layer_idx"] for answer in answers.values()] == [3]


def test_zoom_lists_places(capsys: pytest.CaptureFixture[str], model: str, image: str) -> None:
    arguments = ["zoom", image, "the star", "--model", model, "--n-regions", "2"]
    found = json.loads(out_of(capsys, [*arguments, "--json"]))
    assert len(found["evidence"]) == len(found["crop_boxes"]) <= 2
    assert "crop x" in out_of(capsys, arguments)


def test_doctor_lists_its_checks(capsys: pytest.CaptureFixture[str], model: str) -> None:
    text = out_of(capsys, ["doctor", "--model", model, "--device", "cpu"])
    assert "  pass  layout" in text
    found = json.loads(out_of(capsys, ["doctor", "--model", model, "--dtype", "float32", "--json"]))
    assert {check["verdict"] for check in found["checks"]} == {"pass"}
    assert [check["name"] for check in found["checks"]][:3] == ["load", "family", "layout"]


def test_doctor_shows_which_check_it_is_at(capsys: pytest.CaptureFixture[str], model: str) -> None:
    assert cli.run(["doctor", "--model", model]) == 0
    bar = capsys.readouterr().err
    at = [bar.index(f"examining the model: {name}: ") for name in doctor.CHECKS]
    assert at == sorted(at)
    assert f"| {len(at) - 1}/{len(at)} [" in bar[at[-1] :]


def test_doctor_says_what_fails_and_exits_with_1(
    capsys: pytest.CaptureFixture[str], model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.run(["doctor", "--model", "missing-model"]) == 1
    assert "There is no model 'missing-model'" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setattr("laser_tools.doctor.checks._memory_bytes", lambda device: 1000)
    assert cli.run(["doctor", "--model", model]) == 1
    assert "Use smaller images" in capsys.readouterr().out


def test_bench_writes_json_and_pictures(
    capsys: pytest.CaptureFixture[str], model: str, tmp_path: Path
) -> None:
    file = tmp_path / "out.json"
    text = out_of(capsys, [*TINY_BENCH, "--model", model, "--json", str(file)])
    report = BenchReport.model_validate_json(file.read_text())
    assert (report.n, list(report.methods)) == (6, list(METHODS))
    assert len(report.validation_by_layer) == 4
    assert set(report.attention_aggregation) == {"raw", "relative", "contrastive", "even"}
    assert len(report.layers["overall"]) == 4
    assert "| reading |" in text
    assert (tmp_path / "out.layers.png").is_file()


def test_bench_asks_the_same_items_twice_alike(
    capsys: pytest.CaptureFixture[str], model: str
) -> None:
    arguments = [*TINY_BENCH, "--methods", "laser", "--model", model, "--json", "-"]
    first, second = (json.loads(out_of(capsys, arguments)) for _ in range(2))
    for report in (first, second):
        report["methods"]["laser"].pop("seconds")
        report.pop("time_ratio")
    assert differences(first, second) == []


def test_choices_tables(capsys: pytest.CaptureFixture[str], model: str, tmp_path: Path) -> None:
    file = tmp_path / "choices.md"
    arguments = ["bench", "choices", "--n", "6", "--only", "readout,layer", "--model", model]
    out_of(capsys, [*arguments, "--out", str(file)])
    text = file.read_text()
    assert "| **`'weighted'`** |" in text
    assert "| `3` |" in text
    assert "6 items of the validation split" in text


def test_calibrate_stores_the_fit_beside_the_model(
    capsys: pytest.CaptureFixture[str], model: str, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The toy is never right, so its answers say nothing to fit: call every second one right.
    monkeypatch.setattr(fitting, "run_arm", half_right)
    monkeypatch.setattr(fitting, "MIN_ANSWERS", 20)  # few, as the toy is slow
    monkeypatch.setattr(fitting, "MIN_QUESTIONS", 64)
    data, report = Path(image).with_name("items.jsonl"), Path(image).with_name("report.json")
    for i in range(64):
        shutil.copy(image, data.with_name(f"{i}.png"))
    line = {"question": "what is there?", "answers": ["red"]}
    data.write_text("\n".join(json.dumps({**line, "image": f"{i}.png"}) for i in range(64)))
    arguments = ["calibrate", "--model", model, "--data", str(data), "--report", str(report)]
    stored = json.loads(out_of(capsys, [*arguments, "--json"]))
    assert stored["split"] == "items.jsonl"
    assert FitReport.model_validate_json(report.read_text()).data == "items.jsonl"
    for suffix in (".md", ".png"):
        assert report.with_suffix(suffix).is_file()
    assert stored["held_out"]["n"] > 0
    asked = json.loads(out_of(capsys, ["ask", image, "what?", "--model", model, "--json"]))
    Path(stored["file"]).unlink()
    assert 0.0 <= asked["answers"]["laser"]["confidence"] <= 1.0


def test_a_localiser_is_fitted_and_then_used(
    capsys: pytest.CaptureFixture[str], model: str, image: str
) -> None:
    stored = json.loads(
        out_of(capsys, ["calibrate", "--localiser", "--model", model, "--n", "36", "--json"])
    )
    ask = ["ask", image, "what?", "--model", model, "--json", "--options", "layer=fitted"]
    asked = json.loads(out_of(capsys, ask))
    sentence = trouble_of(capsys, [*ask, "--options", "k_head=1"])
    Path(stored["file"]).unlink()
    assert (stored["n"], stored["n_unseen"]) == (24, 12)
    assert set(stored["unseen"]) == {"vaq", "weighted", "max", "fitted"}
    assert asked["answers"]["laser"]["method"] == "laser"
    assert "k_head=8" in sentence


def half_right(ask: Ask, arm: Arm, items: Sequence[Item], score: Score) -> list[Outcome]:
    """The real answers with every second one called right."""
    return [
        replace(outcome, score=float(i % 2 == 0))
        for i, outcome in enumerate(run_arm(ask, arm, items, score))
    ]


def test_calibrate_refuses_the_scenes_that_pico_was_trained_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sentence = trouble_of(capsys, ["calibrate", "--split", "train", "--n", "6"])
    assert "--split validation" in sentence


def test_calibrate_refuses_to_invent(capsys: pytest.CaptureFixture[str], model: str) -> None:
    assert "at least 150" in trouble_of(capsys, ["calibrate", "--model", model, "--n", "6"])


def test_microscenes_are_drawn(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out_of(capsys, ["microscenes", "--n", "2", "--out", str(tmp_path / "scenes")])
    assert len(list((tmp_path / "scenes").glob("*.png"))) >= 2


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["ask", "IMAGE", ""], "question"),
        (["ask", "IMAGE", "x" * 3000], "question"),
        (["ask", "missing.png", "what?"], "image file"),
        (["ask", "IMAGE", "what?", "--model", "missing-model"], "missing-model"),
        (["ask", "IMAGE", "what?", "--box", "1,2,3"], "X0,Y0,X1,Y1"),
        (["ask", "IMAGE", "what?", "--box", "0,0,9000,10"], "300x260"),
        (["ask", "IMAGE", "what?", "--options", "layers=3"], "layers"),
        (["ask", "IMAGE", "what?", "--method", "magic"], "magic"),
        (["ask", "IMAGE", "what?", "--abstain-below", "7"], "abstain_below"),
        (["ask", "IMAGE", "what?", "--max-error", "0"], "max_error"),
        (["ask", "IMAGE", "what?", "--max-error", ".1", "--abstain-below", ".5"], "not both"),
        (["ask", "IMAGE", "what?", "--max-error", ".1", "--model", "MODEL"], "laser-tools calib"),
        (["ask", "IMAGE", "what?", "--device", "moon"], "moon"),
        (["ask", "IMAGE", "what?", "--choice", "one"], "choices"),
        (["bench", "microscenes", "--methods", "magic", "--model", "MODEL"], "magic"),
        (["bench", "choices", "--split", "test"], "test"),
        (["calibrate", "--data", "missing.jsonl"], "missing.jsonl"),
        (["calibrate", "--data", "missing.jsonl", "--split", "train"], "--data"),
        (["bench", "choices", "--only", "magic"], "magic"),
        (["zoom", "IMAGE", "it", "--n-regions", "99"], "n_regions"),
        (["frobnicate"], "frobnicate"),
        (["ask", "IMAGE"], "question"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    word: str,
    image: str,
    model: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"IMAGE": image, "MODEL": model}
    assert word in trouble_of(capsys, [places.get(part, part) for part in arguments])


def test_not_an_image_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not an image")
    assert "image" in trouble_of(capsys, ["ask", str(tmp_path / "a.png"), "what?"])


def test_unwritable_figure_is_one_sentence(
    capsys: pytest.CaptureFixture[str], model: str, image: str
) -> None:
    arguments = ["ask", image, "what?", "--model", model, "--save", "/nowhere/at/all.png"]
    assert "/nowhere/at/all.png" in trouble_of(capsys, arguments)


def test_missing_extra_is_one_sentence(
    capsys: pytest.CaptureFixture[str], image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(console.EXTRAS, "engine", ("no_such_module",))
    assert "pip install 'laser-tools[engine]'" in trouble_of(capsys, ["ask", image, "what?"])


def test_a_fault_of_ours_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(console, "load_model", break_down)
    assert "ZeroDivisionError" in trouble_of(capsys, ["ask", image, "what?"], code=1)
    monkeypatch.setenv(cli.TRACEBACK_VARIABLE, "1")
    with pytest.raises(ZeroDivisionError):
        cli.run(["ask", image, "what?"])


@pytest.mark.parametrize("save", ["evidence.txt", "evidence", "nowhere/evidence.png"])
def test_a_picture_that_cannot_be_drawn_is_told_before_the_model_is_asked(
    capsys: pytest.CaptureFixture[str], image: str, tmp_path: Path, save: str
) -> None:
    arguments = ["ask", image, "what?", "--model", "no model", "--save", str(tmp_path / save)]
    assert "--save" in trouble_of(capsys, arguments)


def test_options_are_those_of_the_method(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What a method does not know is refused, with what it knows."""
    asked = ["ask", image, "is it red?", "--method", "vcd", "--options"]
    assert cli.run([*asked, "k_head=4"]) == 2
    assert "There is no option k_head; the options are alpha" in capsys.readouterr().err
