"""`laser-tools bench run` and `bench report` on small official folders and the packaged model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from laser_tools import cli
from laser_tools.evaluation.run.report import RunReport
from tests.benchmarks import official
from tests.client.contract_app import ContractWorker
from tests.tools.fakes import ColourEngine

KEY = "canary-key-7f3a"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    code = cli.run(["bench", *map(str, arguments)])
    told = capsys.readouterr()
    assert code == 0, told.err
    return told.out


def trouble(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.run(["bench", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_a_set_is_asked_and_reported_and_reported_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official.pope(tmp_path / "pope")
    (tmp_path / "pope" / "val2014" / f"COCO_val2014_{3:012}.jpg").unlink()
    where, out = ("--data", tmp_path / "pope"), tmp_path / "out.json"
    told = run(capsys, "run", "pope", *where, "--split", "random", "--json", out)
    assert "Metric: accuracy, precision, recall and F1 of yes" in told
    assert '"Answer the question using a single word or phrase."' in told
    report = RunReport.model_validate_json(out.read_bytes())
    assert (report.n, report.run.n, report.run.split) == (3, 4, "random")
    assert report.methods["laser"].errors == {"image_rejected": 1}
    assert set(report.methods["plain"].official) == {
        "accuracy", "precision", "recall", "f1", "yes_share",
    }  # fmt: skip
    assert report.methods["plain"].passes is not None
    assert report.methods["plain"].calibration.ece is None  # fitted without that line
    made = {kind: out.with_suffix(kind).read_bytes() for kind in (".json", ".md", ".html")}
    run(capsys, "report", out.with_suffix(".jsonl"), *where)
    assert {kind: out.with_suffix(kind).read_bytes() for kind in made} == made


def test_a_worker_is_asked_with_the_line_in_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = ColourEngine()
    worker = ContractWorker(engine, api_key=KEY)
    monkeypatch.setenv("LASER_API_KEY", KEY)
    monkeypatch.setattr(httpx, "AsyncHTTPTransport", lambda **_: httpx.ASGITransport(worker.app))
    official.gqa(tmp_path / "gqa")
    out = tmp_path / "out.json"
    url = ("--worker", "https://worker.example")
    run(capsys, "run", "gqa", "--data", tmp_path / "gqa", "--json", out, *url)
    assert len(engine.answered) == 2 * 4
    assert {request.question for request in engine.answered} == {
        "Is it overcast?\nAnswer the question using a single word or phrase."
    }
    report = json.loads(out.read_text(encoding="utf-8"))
    assert (report["model"], report["methods"]["plain"]["passes"]) == ("fake", None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "pope2"], "no benchmark 'pope2'"),
        (["run", "pope"], "--data"),
        (["run", "pope", "--data", "gqa"], "holds gqa, not pope"),
        (["run", "gqa", "--data", "gqa", "--split", "test"], "testdev, validation; not 'test'"),
        (["run", "gqa", "--data", "gqa", "--methods", "plain,magic"], "not 'magic'"),
        (
            ["run", "gqa", "--data", "gqa", "--methods", "best-layer", "--layer", "99"],
            "layers 0 to",
        ),
        (["run", "gqa", "--data", "gqa", "--json", "out.txt"], r"ends in .json"),
        (["run", "microscenes"], "never ends"),
        (["run", "gqa", "--data", "gqa", "--model", "nowhere"], "no model 'nowhere'"),
        (["report", "nowhere.jsonl"], "no file"),
        (["report", "gqa/testdev_balanced_questions.json"], "not the file of a run"),
    ],
)
def test_what_cannot_be_run_is_said(
    arguments: Sequence[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    official.gqa(tmp_path / "gqa")
    monkeypatch.chdir(tmp_path)
    assert told in trouble(capsys, *arguments)
    assert not list(tmp_path.glob("*.json*"))
