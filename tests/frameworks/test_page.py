"""docs/frameworks.md holds what `make frameworks` runs; a run that went wrong is told as such."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from laser_tools.pico import SCENE
from tests.frameworks.asking import failure
from tests.frameworks.page import OURS, PAGE, Framework, frameworks
from tests.frameworks.planner import ASKED

FRAMEWORKS = frameworks(PAGE.read_text(encoding="utf-8"))
ASKS = """
import json, os, urllib.request
body = json.dumps({"tools": [{"function": {"name": "grounded_vqa", "parameters": %s}}],
                   "messages": [{"role": "user", "content": "What is it?"}]})
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
urllib.request.urlopen(urllib.request.Request(url, body.encode()))
"""


def test_every_section_is_run_with_the_version_it_names() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [each.title for each in FRAMEWORKS] == [
        line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")
    ]
    for each in FRAMEWORKS:
        assert "==" in each.requirement
        ast.parse(each.lines)
    assert sum("LaserToolkit()" in each.lines for each in FRAMEWORKS) == len(FRAMEWORKS) - 1
    assert OURS not in FRAMEWORKS[-1].needs


def test_the_page_and_the_planner_ask_about_the_packaged_picture() -> None:
    truth = SCENE.with_suffix(".json").read_text(encoding="utf-8")
    assert ASKED in truth
    assert all(ASKED.removesuffix("?") in each.lines for each in FRAMEWORKS)


@pytest.mark.enable_socket
@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("print(511)", "the chat model was not asked"),
        ("raise SystemExit('no such module')", "no such module"),
        (ASKS % '{"properties": {"image": {}}}', "not told the types of grounded_vqa"),
        (ASKS % '{"properties": {"image": {"type": "string"}}}', "zoom_to_evidence was not called"),
    ],
)
def test_what_went_wrong_is_said(lines: str, why: str) -> None:
    """Lines that print the answer without a call of the tools are no success."""
    told = failure(Framework("any", ("any==1",), lines), Path(sys.executable), {})
    assert told is not None
    assert why in told
