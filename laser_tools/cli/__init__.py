"""The command line: ask, zoom, compare, batch, doctor, bench, calibrate, serve, visor, demo, mcp.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 2 something the caller can mend
(one sentence on stderr says what), 1 a fault of ours or a failed check of the doctor, 130
interrupted. Torch is imported by the commands that run a model, when they run. May import every
room.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.main import get_command

from laser_tools.cli import (
    ask,
    batch,
    bench,
    calibrate,
    compare,
    console,
    demo,
    doctor,
    mcp,
    microscenes,
    serve,
    visor,
)
from laser_tools.errors import LaserError

TRACEBACK_VARIABLE = "LASER_TRACEBACK"  # set it to see where an internal error came from

app = typer.Typer(
    name="laser-tools",
    help="Grounded vision tools for AI agents: ask an image, and see the evidence.",
    invoke_without_command=True,
    rich_markup_mode=None,
    add_completion=False,
)
ask.register(app)
batch.register(app)
compare.register(app)
doctor.register(app)
bench.register(app)
calibrate.register(app)
microscenes.register(app)
serve.register(app)
visor.register(app)
demo.register(app)
mcp.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"laser-tools {importlib.metadata.version('laser-tools')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Grounded vision tools for AI agents: ask an image, and see the evidence."""
    console.show_help(context)


def main() -> None:
    """The entry point of the `laser-tools` command."""
    raise SystemExit(run())


def run(arguments: Sequence[str] | None = None, program: typer.Typer = app) -> int:
    """Run one command line (default: this process's) and return its exit code."""
    try:
        code = get_command(program).main(
            args=list(arguments) if arguments is not None else None,
            prog_name="laser-tools",
            standalone_mode=False,
        )
    except typer.TyperException as error:
        return _fail(error.format_message(), 2)
    except LaserError as error:
        return _fail(error.public_text, 2)
    except OSError as error:
        return _fail(_file_trouble(error), 2)
    except typer.Abort:
        return 130
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        return _fail(_internal(error), 1)
    return code if isinstance(code, int) else 0


def _fail(sentence: str, code: int) -> int:
    typer.echo(f"laser-tools: {' '.join(sentence.split())}", err=True)
    return code


def _file_trouble(error: OSError) -> str:
    where = f" {error.filename}" if error.filename else ""
    return f"Cannot use the file or folder{where}: {error.strerror or type(error).__name__}."


def _internal(error: Exception) -> str:
    return (
        f"Internal error, {type(error).__name__}: {error} "
        f"(set {TRACEBACK_VARIABLE}=1 to see where it came from)."
    )
