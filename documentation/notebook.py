"""The quickstart: a notebook, run from its beginning, as a page with what its cells show."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import ExecutePreprocessor
from traitlets.config import Config

from documentation.gather import linked

SHOWN = ["image/png", "text/plain"]
"""Of what a cell shows, the first of these; HTML would hold its pictures itself."""
PATIENCE_S = 1800  # for a cell; the first one imports torch, maybe on a busy machine


def write_page(notebook: Path, page: Path) -> None:
    """Run `notebook` and write `page`, its pictures beside it. Raises if a cell does."""
    cells = nbformat.read(notebook, as_version=4)
    ExecutePreprocessor(timeout=PATIENCE_S, kernel_name="python3").preprocess(cells)
    exporter = MarkdownExporter(config=Config(NbConvertBase={"display_data_priority": SHOWN}))
    text, found = exporter.from_notebook_node(cells, {"unique_key": page.stem})
    for name, data in found["outputs"].items():
        (page.parent / name).write_bytes(data)
    named = text.replace("![png](", "![What the cell shows](")
    page.write_text(linked(named, notebook), encoding="utf-8")
