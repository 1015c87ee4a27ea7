"""`laser-tools microscenes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from laser_tools.cli import console


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(microscenes)


def microscenes(
    out: Annotated[Path, typer.Option(help="Folder to draw into.")],
    split: Annotated[console.Split, typer.Option(help="Which items.")] = "test",
    n: Annotated[int, typer.Option("--n", min=1, help="How many items.")] = 8,
    seed: console.Seed = 0,
    as_json: console.AsJson = False,
) -> None:
    """Draw MicroScenes items, and a contact sheet to look at."""
    console.require("Drawing MicroScenes", "engine")
    from laser_tools.evaluation.benchmarks.microscenes.contact_sheet import write

    sheet = write(split, n, out, seed)
    if as_json:
        console.echo_json({"wrote": [str(sheet)]})
    else:
        typer.echo(f"wrote {sheet}")
