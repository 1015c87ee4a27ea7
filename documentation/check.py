"""Faults of a built site that its generator does not report."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from documentation.gather import ROOT

LOADS = {"src", "srcset", "poster", "data"}
"""Attributes whose address a browser fetches by itself."""
FETCHED = ("stylesheet", "preload", "prefetch", "preconnect", "dns-prefetch", "icon", "manifest")
_FOREIGN = re.compile(r"(?:https?:)?//", re.IGNORECASE)
_CSS_URL = re.compile(r"(?:url\(\s*|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)")


def astray(pages: Path) -> Iterator[str]:
    """Pages to which the navigation does not lead, and those that it names and are not there."""
    config = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    listed, there = set(_listed(config["project"]["nav"])), {p.name for p in pages.glob("*.md")}
    yield from (f"zensical.toml does not list {page}." for page in sorted(there - listed))
    yield from (f"zensical.toml lists {page}: no such page." for page in sorted(listed - there))


def _listed(entries: object) -> Iterator[str]:
    if isinstance(entries, str):
        yield entries
    elif isinstance(entries, dict):
        yield from _listed(list(entries.values()))
    elif isinstance(entries, list):
        for entry in entries:
            yield from _listed(entry)


def foreign(html: Path) -> Iterator[str]:
    """The addresses on other hosts that built pages and styles would load."""
    for file in sorted(html.rglob("*.html")):
        loads = _Loads()
        loads.feed(file.read_text(encoding="utf-8"))
        yield from (f"{file.relative_to(html)} loads {address}" for address in loads.foreign)
    for file in sorted(html.rglob("*.css")):
        for address in _CSS_URL.findall(file.read_text(encoding="utf-8")):
            yield f"{file.relative_to(html)} loads {address}"


class _Loads(HTMLParser):
    """Collects the foreign addresses that a page's elements load."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        fetched = set(LOADS)
        if tag == "link" and any(kind in given.get("rel", "").split() for kind in FETCHED):
            fetched.add("href")
        self.foreign += [given[name] for name in fetched & set(given) if _is_foreign(given[name])]


def _is_foreign(address: str) -> bool:
    return bool(_FOREIGN.match(address.strip()))
