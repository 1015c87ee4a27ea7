"""`laser-tools doctor`."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import typer

from laser_tools.cli import console
from laser_tools.errors import ModelUnavailable

if TYPE_CHECKING:
    from laser_tools.doctor.checks import Check

COLOURS = {"pass": typer.colors.GREEN, "fail": typer.colors.RED, "skip": typer.colors.YELLOW}
WIDTH = 100  # characters


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(doctor)


def doctor(
    model: console.Model = "pico",
    device: console.Device = None,
    revision: console.Revision = None,
    dtype: console.Dtype = None,
    as_json: console.AsJson = False,
) -> None:
    """Check MODEL on this machine before trusting it. Exit code 1 if a check fails."""
    console.require("Examining a model", "engine")
    checks = _examined(model, device, revision, dtype)
    if as_json:
        console.echo_json(
            {"model": model, "checks": [console.plain_data(check) for check in checks]}
        )
    else:
        typer.echo("\n".join([model, *(_shown(check) for check in checks)]))
    if any(check.verdict == "fail" for check in checks):
        raise typer.Exit(1)


def _examined(
    model: str, device: str | None, revision: str | None, dtype: str | None
) -> list[Check]:
    """The checks of a model; one that cannot be loaded has failed the first of them."""
    import laser_tools.vlm  # noqa: F401 (first: it says if the installed torchvision does not fit)
    from laser_tools.doctor.checks import CHECKS, Check, examine

    try:
        vlm = console.load_model(model, device, revision, dtype, fit=False)
    except ModelUnavailable as error:
        return [Check(name="load", verdict="fail", finding=error.public_text)]
    with console.progress(len(CHECKS), "examining the model") as bar:

        def begins(name: str) -> None:
            bar.n = list(CHECKS).index(name)
            bar.set_description(f"examining the model: {name}")  # shows it at once

        checks = examine(vlm, begins)
    seen = f"{vlm.model.num_parameters() / 1e6:.1f} M parameters, {vlm.model.dtype}, {vlm.device}."
    return [Check(name="load", verdict="pass", finding=seen), *checks]


def _shown(check: Check) -> str:
    """One line in colour (on a terminal), and below it what to do."""
    head = f"  {typer.style(check.verdict, fg=COLOURS[check.verdict])}  {check.name:<8}"
    lines = textwrap.wrap(check.finding, WIDTH - 16) or [""]
    lines += textwrap.wrap(check.advice, WIDTH - 16)
    return head + ("\n" + " " * 16).join(lines)
