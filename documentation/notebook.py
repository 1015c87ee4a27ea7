"""The quickstart: a notebook, run from its beginning, as a page with what its cells show."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import ExecutePreprocessor
from traitlets.config import Config

SHOWN = ["image/png", "text/plain"]
"""Of what a cell shows, the first of these; HTML would hold its pictures itself."""
PATIENCE_S = 1800  # for a cell; the first one imports torch, maybe on a busy machine


class Complained(Exception):
    """A cell wrote a warning."""


def write_page(notebook: Path, page: Path) -> None:
    """Run `notebook` and write `page`, its pictures beside it. Raises if a cell does, or warns."""
    cells = _run(notebook)
    exporter = MarkdownExporter(config=Config(NbConvertBase={"display_data_priority": SHOWN}))
    text, found = exporter.from_notebook_node(cells, {"unique_key": page.stem})
    for name in found["outputs"].keys() & set(re.findall(r"\(([\w.]+)\)", text)):
        (page.parent / name).write_bytes(found["outputs"][name])
    page.write_text(text.replace("![png](", "![What the cell shows]("), encoding="utf-8")


def _run(notebook: Path) -> nbformat.NotebookNode:
    cells = nbformat.read(notebook, as_version=4)
    quiet = Config(KernelManager={"transport": "ipc"})  # no port is opened
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm: no widgets are shown
    ExecutePreprocessor(timeout=PATIENCE_S, config=quiet).preprocess(cells)
    outputs = [output for cell in cells.cells for output in cell.get("outputs", ())]
    for output in outputs:
        if output.get("name") == "stderr":
            raise Complained(output.text)
    return cells
