"""The site's pages in one folder: those of docs/, and files of the repository that are pages too.

Links between files of the repository become links between pages of the site.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "examples/deploy/README.md": "deploy.md",
    "laser_tools/pico/weights/README.md": "pico.md",
    "laser_tools/visor/weights/README.md": "pico-visor.md",
}
"""Files outside docs/, by their paths in the repository, and the pages that they are."""

_LINK = re.compile(r"(?<=\]\()(?P<path>[^()#\s:]+)(?=[#)])")


class NoSuchPage(Exception):
    """A link leads to a file that is not part of the site."""


def gather(folder: Path) -> None:
    """Fill the empty `folder`. Raises NoSuchPage for a link that would lead nowhere."""
    for file in DOCS.iterdir():
        if file.suffix == ".md":
            _write(file, folder / file.name)
        elif file.suffix != ".ipynb":
            shutil.copy2(file, folder)
    for path, page in OUTSIDE.items():
        _write(ROOT / path, folder / page)


def _write(source: Path, page: Path) -> None:
    text = source.read_text(encoding="utf-8")
    page.write_text(linked(text, source), encoding="utf-8")


def linked(text: str, source: Path) -> str:
    """The text of `source`, its links as they are between the site's pages."""
    return _LINK.sub(lambda link: _name(source, link["path"]), text)


def _name(source: Path, target: str) -> str:
    file = (source.parent / target).resolve()
    path = file.relative_to(ROOT).as_posix()
    if path in OUTSIDE:
        return OUTSIDE[path]
    if file.parent == DOCS and file.is_file():
        return file.with_suffix(".md").name if file.suffix == ".ipynb" else file.name
    raise NoSuchPage(f"{source.relative_to(ROOT)} links to {target}, which is not in the site.")
