"""Families whose image prefixes cannot be shared take full passes, on every route."""

from __future__ import annotations

from pathlib import Path

import pytest

from laser_tools import cli
from laser_tools.engine import LocalEngine
from laser_tools.evaluation.speed.bench import routes
from laser_tools.options import LaserOptions
from laser_tools.schema import AnswerRequest
from laser_tools.vlm.families import FAMILIES
from tests.toy_families import TOY_FAMILIES
from tests.toys import picture

UNSHAREABLE = sorted(name for name, family in FAMILIES.items() if family.unshareable)


@pytest.mark.parametrize("route", ["direct", "zoom", "verify"])
@pytest.mark.parametrize("family", UNSHAREABLE)
def test_every_route_answers_with_negative_auto(family: str, route: str) -> None:
    options = routes(LaserOptions(negative="auto"))[route]
    request = AnswerRequest(image=picture(), question="where is the star?", max_new_tokens=3)
    for answer in LocalEngine(TOY_FAMILIES[family](), options).answer([request] * 2):
        assert answer.route == route
        assert answer.evidence
        assert len(answer.margins) == 3


@pytest.mark.parametrize("family", ["gemma3", "paligemma"])  # OneVision's would need torchvision
def test_the_doctor_says_why(
    tmp_path: Path, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    vlm = TOY_FAMILIES[family]()
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    assert cli.run(["doctor", "--model", str(tmp_path), "--device", "cpu"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"Cannot be shared: {FAMILIES[family].unshareable}." in said
