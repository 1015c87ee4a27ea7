"""`laser-tools calibrate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from laser_tools.cli import console, localisers
from laser_tools.errors import InvalidRequest

if TYPE_CHECKING:
    from laser_tools.evaluation.benchmarks.base import Benchmark
    from laser_tools.evaluation.fit_report import FitReport
    from laser_tools.grounding.confidence import Calibration
    from laser_tools.vlm.model import VLM

DEFAULT_N = 3000  # of MicroScenes
BOXED_ITEMS = 200  # to fit a localiser on
ITEMS_HELP = 'Lines of {"image", "question", "answers", "choices"?, "boxes"?}; 200 are enough.'


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(calibrate)


def calibrate(
    model: console.Model = "pico",
    data: Annotated[Path | None, typer.Option(help=f"Questions of your own. {ITEMS_HELP}")] = None,
    split: Annotated[
        Literal["validation", "train"] | None,
        typer.Option(help="Of MicroScenes; never test: it is measured there."),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            min=1,
            help="How many questions; default: all of --data, or 3000, for a localiser 200 with "
            "boxes.",
        ),
    ] = None,
    localiser: Annotated[
        bool, typer.Option("--localiser", help="Fit the layers' weights for layer=fitted instead.")
    ] = False,
    seed: console.Seed = 0,
    device: console.Device = None,
    options: console.Options = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write the report to this JSON file, with .md and .png beside it."),
    ] = None,
    as_json: console.AsJson = False,
) -> None:
    """Fit the confidence of MODEL and its gate, or its localiser.

    The result is stored beside the weights.
    """
    console.require("Calibration", "engine")
    from laser_tools.evaluation import calibrate as fitting
    from laser_tools.evaluation.fit_report import fit_report
    from laser_tools.evaluation.subject import VLMSubject
    from laser_tools.vlm.load import WEIGHTS, folder_of, model_hash

    changed, (asked, total) = console.options_from(options), _questions(data, split, n)
    name = data.name if data else split or "validation"
    vlm = replace(console.load_model(model, device), calibration=None)
    _refuse_trained_on(vlm, split)
    folder = folder_of(model)
    weights = model_hash(folder / WEIGHTS)
    if localiser:
        items = asked.items(name, total if data else None, seed)
        boxed = localisers.look(vlm, items, n or BOXED_ITEMS, changed)
        localisers.deliver(localisers.fit(boxed, weights, name, changed), folder, as_json)
        return
    fitting.check_enough(total)
    with console.progress(total, f"asking {name}") as bar:
        items = asked.items(name, total, seed)
        pairs = fitting.judge(VLMSubject(vlm).ask, items, changed, bar.update, asked.score)
    fit = fitting.calibrate(pairs, weights, name, changed)
    path = fitting.store(fit, folder)
    _deliver(fit, path, fit_report(fit, pairs, vlm.name), report, as_json)


def _questions(data: Path | None, split: str | None, n: int | None) -> tuple[Benchmark, int]:
    """MicroScenes, or the file of the caller; how many questions. Raises InvalidRequest."""
    from laser_tools.evaluation.benchmarks import benchmark
    from laser_tools.evaluation.benchmarks.own_items import read_items

    if data is None:
        return benchmark("microscenes"), n or DEFAULT_N
    if split is not None:
        raise InvalidRequest("--split is of MicroScenes: leave it out, or leave out --data.")
    own = read_items(data)
    return own, min(n or len(own.all_items), len(own.all_items))


def _refuse_trained_on(vlm: VLM, split: str | None) -> None:
    from laser_tools.pico.tower import PicoTowerConfig

    tower = getattr(vlm.model.config, "vision_config", None)
    if split == "train" and isinstance(tower, PicoTowerConfig):
        raise InvalidRequest(
            "pico was trained on the scenes of the train split, and is surer there than it ought "
            "to be. Calibrate it with --split validation."
        )


def _deliver(
    fit: Calibration, path: Path, found: FitReport | None, report: Path | None, as_json: bool
) -> None:
    written = [path, *(_write(found, report) if found and report else [])]
    if as_json:
        console.echo_json({"file": str(path), **console.plain_data(fit)})
        return
    typer.echo("\n".join(f"wrote {each}" for each in written))
    typer.echo(f"{fit.n} answers fitted on, routes {', '.join(fit.routes)}")
    if fit.direct_margin is not None:
        typer.echo(f"plain answers with a margin of {fit.direct_margin:g} need no second look")
    if found is not None:
        from laser_tools.evaluation.fit_report import markdown

        typer.echo("\n" + markdown(found))


def _write(found: FitReport, path: Path) -> list[Path]:
    from laser_tools.evaluation.fit_picture import draw_fit
    from laser_tools.evaluation.fit_report import markdown

    console.write_json(console.plain_data(found), path)
    page = path.with_suffix(".md")
    page.write_text(markdown(found), encoding="utf-8")
    return [path, page, draw_fit(found, path.with_suffix(".png"))]
