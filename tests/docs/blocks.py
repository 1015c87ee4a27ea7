"""The fenced blocks of a page and the code cells of a notebook, in order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
INSTALLS = re.compile(r'# pip install "?laser-tools(?:\[([\w,]+)\])?"?')
RUN = ("python", "bash", "json", "yaml")
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block and where it stands; `reason` says why it is not run, where it is not."""

    page: str
    line: int
    language: str
    code: str
    reason: str = ""

    @property
    def extras(self) -> frozenset[str]:
        named = INSTALLS.match(self.code)
        return frozenset(named[1].split(",")) if named and named[1] else frozenset()

    @property
    def name(self) -> str:
        return next(line for line in self.code.splitlines() if not line.startswith("#"))


def blocks_of(page: Path) -> list[Block]:
    """The blocks of one page in the languages that are run."""
    found = _cells(page) if page.suffix == ".ipynb" else _fences(page)
    return [block for block in found if block.language in RUN]


def _fences(page: Path) -> Iterator[Block]:
    reason = ""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "fence" and token.map:
            language, line = token.info.partition(" ")[0], token.map[0] + 1
            yield Block(page.name, line, language, token.content, reason)
        marked = _NOT_RUN.search(token.content) if token.type == "html_block" else None
        reason = marked[1] if marked else ""


def _cells(page: Path) -> Iterator[Block]:
    for number, cell in enumerate(json.loads(page.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            yield Block(page.name, number, "python", "".join(cell["source"]))
