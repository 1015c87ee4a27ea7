"""What the site's build adds to its generator: gathered pages, links between them, its checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from documentation import check
from documentation.gather import DOCS, OUTSIDE, ROOT, NoSuchPage, gather, linked


def test_every_link_of_the_gathered_pages_stays_in_the_site(tmp_path: Path) -> None:
    gather(tmp_path)
    names = {file.name for file in tmp_path.iterdir()}
    assert {page.name for page in DOCS.glob("*.md")} | set(OUTSIDE.values()) <= names
    assert "quickstart.ipynb" not in names


def test_links_are_those_between_pages() -> None:
    text = "[a](../SECURITY.md) [b](quickstart.ipynb) ![c](evidence.png) [d](mcp.md#over-http)"
    wanted = "[a](security.md) [b](quickstart.md) ![c](evidence.png) [d](mcp.md#over-http)"
    assert linked(text, DOCS / "models.md") == wanted
    assert linked("[a](docs/mcp.md) [b](https://x.y/z.md)", ROOT / "README.md") == (
        "[a](mcp.md) [b](https://x.y/z.md)"
    )


@pytest.mark.parametrize("target", ["nowhere.md", "../pyproject.toml"])
def test_a_link_out_of_the_site_is_refused(target: str) -> None:
    with pytest.raises(NoSuchPage, match=target):
        linked(f"[a]({target})", DOCS / "models.md")


def test_what_a_page_loads_from_elsewhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<script src="https://cdn.x/a.js"></script><link rel="stylesheet" href="//fonts.x/a.css">'
        '<img src="a.png"><a href="https://arxiv.org"></a><link rel="canonical" href="https://x">'
    )
    (tmp_path / "a.css").write_text("a{background:url(data:x)} b{background:url('http://x/b.png')}")
    found = list(check.foreign(tmp_path))
    assert [line.partition(" loads ")[2] for line in found] == [
        "https://cdn.x/a.js", "//fonts.x/a.css", "http://x/b.png"
    ]  # fmt: skip


def test_a_page_that_no_navigation_leads_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "index.md").touch()
    (tmp_path / "lost.md").touch()
    found = list(check.astray(tmp_path))
    assert "zensical.toml does not list lost.md." in found
    assert "zensical.toml lists api.md: no such page." in found
    assert not any("index.md" in line for line in found)
