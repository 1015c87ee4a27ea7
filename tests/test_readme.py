"""What README and examples/ promise, run."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest

from laser_tools import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SMALLER = {
    "bench microscenes": ("--n", "6"),
    "bench choices": ("--n", "6", "--only", "readout"),
}
"""What is added to a command that would take minutes; the last value given counts."""
ONLY_READ = ("bench speed", "bench worker", "pico train", "calibrate", "serve")
"""Commands that change the shipped model, are slow or do not end: only their --help is read."""


def blocks(*languages: str) -> list[str]:
    """The code of README's fenced blocks in these languages, in order."""
    return [code for language, code in BLOCK.findall(README) if language in languages]


def shell_lines() -> list[str]:
    """Commands, with continued lines joined and comments dropped."""
    text = "\n".join(blocks("bash", "sh", "shell")).replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.partition("#")[0].strip()]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder where examples/ is found but nothing of the repository is written to."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_readme_shows_python_and_shell() -> None:
    assert blocks("python")
    assert {"make demo", "make test"} <= {line.split(" #")[0].strip() for line in shell_lines()}


def test_python_blocks_run_in_order(elsewhere: Path) -> None:
    names: dict[str, object] = {"__name__": "readme"}
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), names)


@pytest.mark.parametrize("line", shell_lines())
def test_shell_lines_work(line: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command, *arguments = shlex.split(line, comments=True)
    if command == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{arguments[0]}:", makefile, re.MULTILINE)
    elif command == "pip":
        pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        extras = re.findall(r"\[(\w+)\]", line)
        assert all(f"\n{extra} = [" in pyproject for extra in extras)
    elif command == "laser-tools":
        run_small(arguments, capsys)
    else:
        assert command in ("git", "cd"), f"the test does not know how to check {line!r}"


def run_small(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Run a laser-tools command, made small or only checked where it would take long."""
    words = " ".join(arguments)
    untouchable = next((name for name in ONLY_READ if words.startswith(name)), None)
    if untouchable:
        assert cli.run([*untouchable.split(), "--help"]) == 0
        shown = capsys.readouterr().out
        assert all(word in shown for word in arguments if word.startswith("--"))
        return
    smaller = next((extra for name, extra in SMALLER.items() if words.startswith(name)), ())
    assert cli.run([*arguments, *smaller]) == 0, capsys.readouterr().err


def test_example_asks_and_draws(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "ask.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "plain: " in printed
    assert "laser: " in printed
    assert (elsewhere / "evidence.png").is_file()


def test_example_scores_variants(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = runpy.run_path(str(ROOT / "examples" / "choose_options.py"))
    example["main"](n=6)
    assert capsys.readouterr().out.count("right, box hit") == len(example["VARIANTS"])
