"""Every fenced block of the documentation runs as it stands there, or says why not.

The blocks of README are run alone from the built wheel: `tests/test_readme.py`.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from laser_tools.cli import capacity
from laser_tools.pico import SCENE
from laser_tools.vlm.load import PICO_FOLDER
from tests.docs.blocks import ROOT, Block, blocks_of
from tests.docs.commands import check, commands, run
from tests.docs.tally import NOT_RUN, RUN, WANTED
from tests.providers.server import Planner, serving

PAGES = {
    page: blocks
    for page in sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("docs/**/*.ipynb")])
    if (blocks := blocks_of(page))
}
ELSEWHERE = {"frameworks.md": "`make frameworks`, each framework in an environment of its own"}
"""Pages whose blocks another command runs."""
PRINTS = re.compile(r"^\s*# prints ([^,;\n]*\d[^,;\n]*)", re.MULTILINE)

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.timeout(600),  # 20 s for the longest page, where nothing else runs
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with what the pages name: a model, pictures, the checkout's agents."""
    for name in ("agents", "laser_tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(PICO_FOLDER, tmp_path / "FOLDER")
    (tmp_path / "PICTURES").mkdir()
    shutil.copy(SCENE, tmp_path / "PICTURES")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "agents")  # as where a script lies
    monkeypatch.setattr(capacity, "QUESTIONS", 16)  # to measure times on, of 96
    return tmp_path


@pytest.fixture
def chat_apis(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The chat APIs that the pages name, spoken by a local server."""
    with serving(Planner()) as url:
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
            monkeypatch.setenv(name, "none")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
        monkeypatch.setenv("OLLAMA_HOST", url)
        yield


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_in_order(
    page: Path,
    folder: Path,
    chat_apis: None,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for block in PAGES[page]:
        if reason := ELSEWHERE.get(block.page, block.reason):
            check_unrun(block)
            record_property(NOT_RUN, reason)
            continue
        record_property(WANTED, block.line)
        run_block(block, names, monkeypatch)
        printed = capsys.readouterr().out
        assert all(said in printed for said in PRINTS.findall(block.code)), printed
        record_property(RUN, block.line)


def run_block(block: Block, names: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Python goes on with the page's names; data is parsed, and kept where it names a file."""
    if block.language == "python":
        exec(compile(block.code, f"{block.page}:{block.line}", "exec"), names)
    elif block.language == "bash":
        for command in commands(block.code):
            run(command, monkeypatch)
    elif block.language == "yaml":
        assert yaml.safe_load(block.code)
        if named := re.match(r"# (\w+\.yaml)\n", block.code):
            Path(named[1]).write_text(block.code, encoding="utf-8")
    else:
        parse_json(block.code)


def parse_json(code: str) -> None:
    """One value, or one a line; a client's configuration names a command that there is."""
    lines = code.splitlines() if code.count("\n{") else [code]
    for value in map(json.loads, lines):
        for server in value.get("mcpServers", {}).values():
            check(next(commands(" ".join([server["command"], *server["args"]]))))


def check_unrun(block: Block) -> None:
    """Python that can be parsed, and commands with options that there are."""
    if block.language == "python":
        ast.parse(block.code)
    elif block.language == "bash":
        for command in commands(block.code):
            check(command)


def test_a_reason_stands_before_a_block() -> None:
    """Else a comment that lost its block would hide nothing and say something wrong."""
    for page in ROOT.glob("docs/**/*.md"):
        marks = page.read_text(encoding="utf-8").count("<!-- not run: ")
        assert marks == sum(bool(block.reason) for block in PAGES.get(page, []))
