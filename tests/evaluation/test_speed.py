from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from laser_tools import cli
from laser_tools.cli.speed import N_QUESTIONS, _with_questions
from laser_tools.errors import InvalidRequest
from laser_tools.evaluation.speed import bench as speed
from laser_tools.evaluation.speed.geometries import PLACES, geometry, shallower
from laser_tools.evaluation.speed.memory import peak_bytes
from laser_tools.evaluation.speed.random_models import empty_model
from laser_tools.evaluation.speed.report import Sample, size_report
from laser_tools.evaluation.speed.scene import scene
from laser_tools.options import LaserOptions
from laser_tools.vlm.capture import ATTN_IMPLEMENTATION
from laser_tools.vlm.model import VLM
from tests.oracle import slow_arms
from tests.toys import picture, toy_llava, toy_qwen

ARMS = {"plain", "naive", "vicrop", "direct", "zoom", "verify", "verify_pixels"}


@pytest.fixture(autouse=True)
def _slow_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bench as `python -m tests.oracle.slow_arms` runs it."""
    monkeypatch.setattr(speed, "SLOW_ARMS", {**speed.SLOW_ARMS, **slow_arms.ARMS})


@pytest.mark.parametrize(
    ("name", "billions"), [("llava-1.5-7b", 7.06), ("qwen2.5-vl-7b", 8.29), ("qwen3-vl-8b", 8.77)]
)
def test_real_geometries_have_as_many_parameters_as_the_checkpoints(
    name: str, billions: float
) -> None:
    model = empty_model(name, "meta", torch.bfloat16)
    n = sum(parameter.numel() for parameter in model.parameters())
    assert n / 1e9 == pytest.approx(billions, abs=0.005)


@pytest.mark.parametrize(
    ("name", "layers", "vision", "placed"),
    [
        ("llava-1.5-7b", 4, 3, None),
        ("qwen2.5-vl-7b", 7, 8, [7]),  # one vision layer in eight has full attention, as in all 32
        ("qwen3-vl-8b", 12, 9, [8]),
        ("toy-llava", 1, 1, None),
    ],
)
def test_a_less_deep_geometry_keeps_its_widths_and_proportions(
    name: str, layers: int, vision: int, placed: list[int] | None
) -> None:
    whole, less = geometry(name), shallower(geometry(name), layers)
    assert (less.layers, less.vision_layers) == (layers, vision)
    depths = {"num_hidden_layers", "depth", *PLACES}
    for part in ("text", "vision"):
        before, after = getattr(whole, part), getattr(less, part)
        assert {k: v for k, v in after.items() if k not in depths} == {
            k: v for k, v in before.items() if k not in depths
        }
    assert [less.vision[field] for field in PLACES if field in less.vision] == (
        [placed] if placed else []
    )
    assert empty_model(name, "meta", torch.bfloat16, layers).num_parameters() > 0


def test_all_layers_are_the_geometry_itself() -> None:
    assert shallower(geometry("qwen2.5-vl-7b"), 28) == geometry("qwen2.5-vl-7b")
    with pytest.raises(InvalidRequest, match="28 language layers, not 29"):
        shallower(geometry("qwen2.5-vl-7b"), 29)


def test_a_less_deep_model_says_so_wherever_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "speed.json"
    arguments = ["bench", "speed", "--geometry", "toy-qwen2.5-vl", "--random-weights"]
    arguments += ["--layers", "2", "--dtype", "bfloat16", "--visual-tokens", "4", "--batch", "none"]
    arguments += ["--repeats", "1", "--max-new-tokens", "1", "--json", str(out)]
    assert cli.run(arguments) == 0
    report = json.loads(out.read_text(encoding="utf-8"))
    name = "toy-qwen2.5-vl, 2 of 8 layers (random)"
    assert list(report["models"]) == list(report["facts"]) == [name]
    facts = report["facts"][name]
    assert (facts["layers"], facts["vision_layers"]) == ("2 of 8", "1 of 4")
    assert facts["dtype"] == "bfloat16"
    assert f"{name}: 2 of 8 language layers, 1 of 4 vision layers" in capsys.readouterr().out
    assert report["batch"] == {}


def test_the_profiler_keeps_quiet() -> None:
    """Runs in a process of its own: the library reads its log level once."""
    code = "import torch; from laser_tools.evaluation.speed.memory import peak_bytes as peak; "
    code += "peak(lambda: torch.ones(9), torch.nn.Linear(1, 1))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_an_unknown_geometry_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="toy-llava"):
        empty_model("llava-2", "meta", torch.bfloat16)


def test_ratios_are_those_of_the_medians() -> None:
    seconds = {
        "plain": [1.0, 2.0, 9.0], "naive": [8.0], "direct": [2.0], "zoom": [3.0],
        "verify": [4.0, 4.0, 1.0], "vicrop": [],
    }  # fmt: skip
    samples = {
        name: [Sample(s, 4, {"decode": s / 2}, name) for s in done]
        for name, done in seconds.items()
    }
    report = size_report((640, 480), samples, {"plain": 100, "direct": 105, "vicrop": None}, 0.4)
    assert report.seconds["plain"] == 2.0
    assert report.seconds["vicrop"] is None
    expected = {"direct": 1.0, "zoom": 1.5, "verify": 2.0, "mean": None}
    assert report.ratio_to_plain == expected
    assert report.ratio_to_naive == 0.5
    assert report.second_question_ratio == 0.4
    assert report.peak_memory_ratio == 1.05
    assert report.stages_s["zoom"] == {"decode": 1.5}
    assert report.tokens_per_s["plain"] == 2.0
    assert report.routes["verify"] == "verify"


def test_routes_are_forced_whatever_the_gate() -> None:
    gated = LaserOptions(direct_margin=3.0, verify_margin=3.0, negative="keys")
    assert set(speed.routes(gated)) == {"direct", "zoom", "verify", "verify_pixels"}


@pytest.mark.parametrize("model", [toy_llava, toy_qwen])
def test_every_arm_runs_and_takes_its_route(model: Callable[[], VLM]) -> None:
    asked = scene(model(), picture(), "what colour?", LaserOptions(), max_new_tokens=2)
    samples = {name: arm() for name, arm in speed.arms(asked).items()}
    assert set(samples) == ARMS
    assert all(sample.seconds > 0 and sample.n_tokens > 0 for sample in samples.values())
    for name in ("direct", "zoom", "verify", "verify_pixels"):
        assert samples[name].route == name.partition("_")[0]
    assert model().model.config.get_text_config()._attn_implementation == ATTN_IMPLEMENTATION


def test_peak_memory_counts_weights_and_what_is_held_at_once() -> None:
    model = torch.nn.Linear(10, 10, bias=False)

    def twice() -> None:
        for _ in range(2):
            torch.zeros(1000).add(1.0)

    assert peak_bytes(twice, model) == pytest.approx(400 + 8000, abs=64)


def test_the_command_writes_the_promised_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("laser_tools.cli.speed._random", lambda *unused: toy_qwen())
    out = tmp_path / "speed.json"
    arguments = ["bench", "speed", "--geometry", "toy-llava", "--random-weights", "--visual-tokens"]
    arguments += [
        "9",
        "--repeats",
        "1",
        "--batch",
        "2",
        "--max-new-tokens",
        "2",
        "--options",
        "max_visual_tokens=4",
        "--json",
        str(out),
    ]
    assert cli.run(arguments) == 0
    told = capsys.readouterr().out
    assert "| verify |" in told
    assert "all but plain with max_visual_tokens=4\n" in told
    report = json.loads(out.read_text(encoding="utf-8"))
    assert {"machine", "commit", "versions", "models", "batch"} <= set(report)
    size = report["models"]["toy-qwen"]["9"]
    assert set(size["seconds"]) == ARMS
    assert set(size["ratio_to_plain"]) == {"direct", "zoom", "verify", "mean"}
    assert size["ratio_to_plain"]["mean"] is None
    assert min(size["ratio_to_naive"], size["second_question_ratio"]) > 0
    assert size["peak_memory_ratio"] > 0
    assert report["batch"]["2"]["throughput_ratio"] > 0
    assert out.with_suffix(".png").stat().st_size > 0


def test_nothing_is_asked_without_a_question() -> None:
    questions = _with_questions(speed.Setup()).questions
    assert len(questions) == N_QUESTIONS
    assert all(question for _, question in questions)


def test_a_trained_model_is_asked_validation_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate of the options decides how each of the questions is answered."""
    monkeypatch.setattr("laser_tools.cli.speed.N_QUESTIONS", 1)
    out = tmp_path / "pico.json"
    arguments = ["bench", "speed", "--device", "cpu", "--batch", "1,2", "--repeats", "1"]
    assert cli.run([*arguments, "--max-new-tokens", "2", "--json", str(out)]) == 0
    report = json.loads(out.read_text(encoding="utf-8"))
    (size,) = report["models"]["pico"].values()
    assert size["ratio_to_plain"]["mean"] > 0
    assert size["peak_memory_ratio"] > 0
    assert report["batch"]["2"]["throughput_ratio"] > 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--geometry", "toy-llava"], "--random-weights"),
        (["--random-weights"], "--geometry"),
        (["--layers", "4"], "--layers goes with --geometry"),
        (["--geometry", "toy-llava", "--random-weights", "--layers", "9"], "8 language layers"),
        (["--geometry", "magic", "--random-weights"], "magic"),
        (["--batch", "1,none"], "--batch"),
    ],
)
def test_what_cannot_be_timed_is_said(
    capsys: pytest.CaptureFixture[str], arguments: list[str], word: str
) -> None:
    assert cli.run(["bench", "speed", *arguments]) == 2
    assert word in capsys.readouterr().err
