"""The lines of a bash block, run in this process: torch is imported once for all of them."""

from __future__ import annotations

import io
import itertools
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from laser_tools import cli
from tests.docs.blocks import ROOT

SMALLER = {
    "laser-tools bench microscenes": "--n 2",
    "laser-tools bench run microscenes": "--n 2",
    "laser-tools bench speed": "--geometry toy-qwen2.5-vl --visual-tokens 16 --batch none"
    " --repeats 1 --max-new-tokens 2",
    "laser-tools bench visor": "--n 2 --timed 1 --no-sizes",
    "laser-tools visor probe": "--n 1 --check 4",
}
"""Arguments added to a command that would take minutes; the last value given counts."""
OTHERS = ("curl", "export", "lmms-eval")
"""Programs of which nothing is checked."""
_HERE = re.compile(r"(?P<line>.+?) << (?P<end>\w+)\n(?P<text>.*?)^(?P=end)$", re.M | re.S)


@dataclass(frozen=True)
class Command:
    """A line's words, and what it reads from its standard input."""

    words: tuple[str, ...]
    reads: str = ""


def commands(code: str) -> Iterator[Command]:
    """The commands of a block, in order; at most one of them reads what follows it."""
    here = _HERE.search(code)
    lines = code[: here.start()] + here["line"] if here else code
    joined = lines.replace("\\\n", "")
    split = [shlex.split(line, comments=True) for line in joined.splitlines()]
    *before, last = [tuple(words) for words in split if words]
    yield from map(Command, before)
    yield Command(last, here["text"] if here else "")


def run(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run it. What cannot be run here is checked; a program without a rule is an error."""
    program, *arguments = command.words
    if program == "laser-tools":
        assert cli.run(_smaller(command.words)) == 0, command
    elif program == "python" and arguments[0].startswith("agents/"):
        _run_script(arguments, command.reads, monkeypatch)
    elif program == "echo":
        said, arrow, file = arguments
        assert arrow == ">", command
        Path(file).write_text(f"{said}\n", encoding="utf-8")
    else:
        check(command)


def check(command: Command) -> None:
    """What can be said of a command without running it: that everything it names is there."""
    program, *arguments = command.words
    if program == "laser-tools":
        check_options(arguments)
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = [word for word in arguments if "=" not in word]
        assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets), command
    elif program == "pip":
        extras = re.findall(r"laser-tools\[(.+?)\]", " ".join(arguments))
        pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        assert all(f"\n{extra} = [" in pyproject for extra in ",".join(extras).split(",") if extra)
    elif program == "python":
        assert arguments[0] == "-m", command
        assert (ROOT / arguments[1].replace(".", "/")).exists(), command
    else:
        assert program in OTHERS or "=" in program, f"no rule for {program}"


def check_options(arguments: list[str]) -> None:
    """The command exists, and so does every option that it is given."""
    command = list(itertools.takewhile(re.compile(r"[a-z]+$").match, arguments))
    shown = io.StringIO()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdout", shown)
        assert cli.run([*command, "--help"]) == 0
    given = [word for word in arguments if word.startswith("--")]
    assert all(option in shown.getvalue() for option in given), arguments


def _smaller(words: tuple[str, ...]) -> list[str]:
    line = " ".join(words)
    added = [more for start, more in SMALLER.items() if line.startswith(start)]
    return [*words[1:], *" ".join(added).split()]


def _run_script(arguments: list[str], reads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(sys, "stdin", io.StringIO(reads))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(arguments[0], run_name="__main__")
    assert ended.value.code in (None, 0)
