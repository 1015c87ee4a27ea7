"""Load, faults and hostility against real workers on loopback.

python -m tests.hardening --quick
python -m tests.hardening --soak --json runs/soak.json
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from laser_tools import cli
from laser_tools.cli import console
from laser_tools.errors import InvalidRequest

app = typer.Typer(add_completion=False)


@app.command()
def harden(
    model: console.Model = "pico",
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="As little of each check as shows that it works; about a minute."
        ),
    ] = False,
    soak: Annotated[
        bool, typer.Option("--soak", help="As much as a release wants; half an hour or more.")
    ] = False,
    only: Annotated[
        str | None, typer.Option(help="Comma-separated checks; default: all of them.")
    ] = None,
    json_file: console.JsonFile = None,
) -> None:
    """Start workers on loopback, load and attack them, and count what goes wrong.

    Ends with 1 if a figure is not what is wanted. Times mean something on an idle machine only.
    """
    console.require("The worker's bench", "engine", "server")
    if quick and soak:
        raise InvalidRequest("--quick and --soak exclude each other.")
    from tests.hardening import bench, report
    from tests.hardening.sizes import QUICK, SOAK, Sizes

    sizes = QUICK if quick else SOAK if soak else Sizes()
    names = None if only is None else [name.strip() for name in only.split(",")]
    figures = bench.run(sizes, model, names, lambda name: typer.echo(f"... {name}", err=True))
    if json_file is not None:
        console.write_json(figures, json_file)
    if str(json_file) != "-":
        typer.echo(report.table(figures))
    if report.missed(figures):
        raise typer.Exit(1)


if __name__ == "__main__":
    sys.exit(cli.run(sys.argv[1:], app))
