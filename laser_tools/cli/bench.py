"""`laser-tools bench`: MicroScenes, the tables that choose the defaults, speed, VISOR."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from laser_tools.cli import bench_confidence, bench_visor, capacity, console, load, run, speed
from laser_tools.errors import InvalidRequest

if TYPE_CHECKING:
    from laser_tools.evaluation.report import BenchReport
    from laser_tools.evaluation.sweep import Row

METHODS = "plain,fixed-layer,best-layer,raw-attention,laser,oracle"  # evaluation/bench.py

Items = Annotated[int, typer.Option("--n", min=1, help="How many questions.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Questions per forward pass.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = console.group("Benchmarks.")
    group.command()(microscenes)
    group.command()(choices)
    group.command()(bench_confidence.confidence)
    group.command()(speed.speed)
    group.command()(load.load)
    group.command()(run.run)
    group.command()(run.report)
    group.command()(bench_visor.visor)
    group.command()(capacity.capacity)
    app.add_typer(group, name="bench")


def microscenes(
    split: Annotated[console.Split, typer.Option(help="Which items.")] = "test",
    methods: Annotated[
        str, typer.Option(help=f"Comma-separated: {METHODS.replace(',', ', ')}.")
    ] = METHODS,
    n: Items = 2400,
    seed: console.Seed = 0,
    fixed_layer: Annotated[
        int | None, typer.Option(help="Layer of fixed-layer; default: 14/32 of the depth.")
    ] = None,
    model: console.Model = "pico",
    device: console.Device = None,
    options: console.Options = None,
    batch_size: BatchSize = 16,
    json_file: console.JsonFile = None,
) -> None:
    """Compare methods on the same MicroScenes questions.

    best-layer is the fixed layer that is right most often on 480 validation questions, or --n.
    With --json FILE, pictures of accuracy, chosen layers and reliability are drawn beside it.
    """
    console.require("The bench", "engine")
    from laser_tools.evaluation.bench import Setup, bench, score_layers
    from laser_tools.evaluation.benchmarks import benchmark
    from laser_tools.evaluation.best_layer import LAYER_QUESTIONS
    from laser_tools.evaluation.subject import VLMSubject

    asked = benchmark("microscenes")
    setup = Setup(
        split=split,
        seed=seed,
        methods=tuple(name.strip() for name in methods.split(",")),
        options=console.options_from(options),
        fixed_layer=fixed_layer,
        batch_size=batch_size,
        score=asked.score,
    )
    subject = VLMSubject(console.load_model(model, device))
    if "best-layer" in setup.methods:
        few = min(n, LAYER_QUESTIONS)
        with console.progress(few, "layers on validation") as bar:
            items = asked.items("validation", few, seed)
            scores = score_layers(subject, items, setup.options, bar.update, asked.score)
        setup = replace(setup, validation_by_layer=scores)
    with console.progress(n, f"bench {split}") as bar:
        report = bench(subject, asked.items(split, n, seed), setup, bar.update)
    _deliver(report, json_file)


def _deliver(report: BenchReport, json_file: Path | None) -> None:
    from laser_tools.evaluation.pictures import draw_all
    from laser_tools.evaluation.report import summary

    if json_file is not None:
        console.write_json(console.plain_data(report), json_file)
    if json_file is None or str(json_file) != "-":
        typer.echo(summary(report))
    if json_file is not None and str(json_file) != "-":
        for path in (json_file, *draw_all(report, json_file.with_suffix(""))):
            typer.echo(f"wrote {path}")


def choices(
    split: Annotated[
        Literal["validation", "train"], typer.Option(help="Never test: defaults are chosen here.")
    ] = "validation",
    n: Items = 600,
    seed: console.Seed = 0,
    only: Annotated[
        str | None, typer.Option(help="Comma-separated option names; default: every open choice.")
    ] = None,
    model: console.Model = "pico",
    device: console.Device = None,
    options: console.Options = None,
    out: Annotated[
        Path | None, typer.Option(help="Put the tables into this Markdown file, between its marks.")
    ] = None,
    json_file: console.JsonFile = None,
) -> None:
    """Score every value of every open choice, one changed at a time."""
    console.require("Choosing options", "engine")
    from laser_tools.evaluation import sweep
    from laser_tools.evaluation.benchmarks import benchmark
    from laser_tools.evaluation.subject import VLMSubject

    asked = benchmark("microscenes")
    base = console.options_from(options)
    values = _values(only, {**sweep.VALUES, "layer": ("vaq",)})
    vlm = console.load_model(model, device)
    subject = VLMSubject(vlm)
    if "layer" in values:
        fitted = ("fitted",) if vlm.localiser else ()
        values["layer"] = ("vaq", "weighted", "max", *fitted, *range(subject.n_layers))
    with console.progress(n, f"choices on {split}") as bar:
        items = asked.items(split, n, seed)
        rows = sweep.choices(subject.ask, items, base, values, bar.update, asked.score)
    note = f"{n} items of the {split} split, seed {seed}, model {subject.name}."
    _deliver_choices(rows, sweep.choices_markdown(rows, base, note), out, json_file)


def _values(
    only: str | None, values: dict[str, tuple[object, ...]]
) -> dict[str, tuple[object, ...]]:
    if only is None:
        return values
    names = [name.strip() for name in only.split(",")]
    unknown = [name for name in names if name not in values]
    if unknown:
        known = ", ".join(values)
        raise InvalidRequest(f"No values are listed for {', '.join(unknown)}, only for {known}.")
    return {name: values[name] for name in names}


def _deliver_choices(
    rows: dict[str, list[Row]], tables: str, out: Path | None, json_file: Path | None
) -> None:
    from laser_tools.evaluation.sweep import write_between_marks

    if json_file is not None:
        data = {name: [asdict(row) for row in group] for name, group in rows.items()}
        console.write_json(data, json_file)
    if out is not None:
        write_between_marks(out, tables)
        typer.echo(f"wrote {out}", err=True)
    elif str(json_file) != "-":
        typer.echo(tables)
