"""The blocks of docs/frameworks.md: what a user of each framework writes, and what runs here."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "frameworks.md"
OURS = "laser-tools"
_OPENING = re.compile(r"^```python\n(from laser_tools .*?)^```$", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(
    r"^## (?P<title>.+?)\n.*?^```python\n# pip install (?P<needs>.+?)\n(?P<lines>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Framework:
    """A framework, what pip is asked for, and the lines that ask it."""

    title: str
    needs: tuple[str, ...]  # as pip takes them; the first but ours is the framework
    lines: str

    @property
    def requirement(self) -> str:
        return next(need for need in self.needs if need != OURS)

    @property
    def package(self) -> str:
        return re.split(r"[\[=<>]", self.requirement)[0]


def frameworks(page: str) -> list[Framework]:
    """All that the page names, the lines that they share put before their own."""
    (opening,) = _OPENING.findall(page)
    return [_framework(opening, **found.groupdict()) for found in _BLOCK.finditer(page)]


def _framework(opening: str, title: str, needs: str, lines: str) -> Framework:
    asked = tuple(shlex.split(needs))
    return Framework(title, asked, opening + lines if OURS in asked else lines)
