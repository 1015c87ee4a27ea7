"""`laser-tools bench speed`: what a question costs, by method, route and image size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laser_tools.cli import console
from laser_tools.errors import InvalidRequest

if TYPE_CHECKING:
    from laser_tools.evaluation.speed.bench import Setup
    from laser_tools.evaluation.speed.report import SpeedReport
    from laser_tools.vlm.model import VLM

N_QUESTIONS = 48  # of MicroScenes' validation split, for the mean ratio


def speed(
    model: console.Model = "pico",
    geometry: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated, instead of --model: llava-1.5-7b, qwen2.5-vl-7b, qwen3-vl-8b, "
            "toy-llava, toy-qwen2.5-vl. Needs --random-weights."
        ),
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Honest times without a download; no answers.")
    ] = False,
    visual_tokens: Annotated[
        str, typer.Option(help="Comma-separated; the nearest that the model can have.")
    ] = "576",
    layers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of the geometry's language layers, and as large a share of the vision layers: "
            "real widths on a small machine.",
        ),
    ] = None,
    batch: Annotated[str, typer.Option(help="Comma-separated batch sizes, or none.")] = "1,4,16",
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; medians are reported.")] = 5,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Of every answer, at most.")] = 16,
    max_seconds: Annotated[
        float, typer.Option(min=0.0, help="Of one call; what would take longer is left out.")
    ] = 60.0,
    device: console.Device = None,
    dtype: console.Dtype = None,
    options: console.Options = None,
    json_file: console.JsonFile = None,
) -> None:
    """Time plain generate and each route of ours in one run.

    With --json FILE, a picture is drawn beside it. Batches are timed on the first model.
    """
    console.require("The bench", "engine")
    if (geometry is None) == random_weights:
        raise InvalidRequest("--geometry and --random-weights go together.")
    if layers is not None and geometry is None:
        raise InvalidRequest("--layers goes with --geometry; a model on disk has those it has.")
    from laser_tools.evaluation.speed.bench import Setup

    setup = Setup(
        visual_tokens=_numbers("--visual-tokens", visual_tokens),
        batches=() if batch == "none" else _numbers("--batch", batch),
        repeats=repeats,
        max_new_tokens=max_new_tokens,
        options=console.options_from(options),
        max_seconds=max_seconds,
    )
    report: SpeedReport | None = None
    for name in map(str.strip, (geometry or model).split(",")):
        if geometry is None:
            report = _measured(_load(name, device, dtype), _with_questions(setup), report)
        else:
            report = _measured(_random(name, device, dtype, layers), setup, report, name)
    if report is not None:
        _deliver(report, json_file)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InvalidRequest(f"{option} takes whole numbers above 0, like 256,1024; not {text!r}.")
    return tuple(int(part) for part in parts)


def _load(name: str, device: str | None, dtype: str | None) -> VLM:
    return console.load_model(name, device, dtype=dtype)


def _random(name: str, device: str | None, dtype: str | None, layers: int | None) -> VLM:
    import torch

    from laser_tools.evaluation.speed.random_models import random_vlm

    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    usual = "float32" if target.type == "cpu" else "bfloat16"
    return random_vlm(name, target, getattr(torch, dtype or usual), layers)


def _measured(
    vlm: VLM, setup: Setup, before: SpeedReport | None, geometry: str | None = None
) -> SpeedReport:
    """The report `before` with this model's times added; without one, a new report."""
    from laser_tools.evaluation import machine
    from laser_tools.evaluation.speed import bench as speed
    from laser_tools.evaluation.speed.model_facts import model_facts
    from laser_tools.evaluation.speed.report import SpeedReport

    facts = model_facts(vlm.model, geometry)
    with console.progress(speed.n_steps(setup), f"timing {vlm.name}") as bar:
        sizes = speed.by_size(vlm, setup, bar.update)
    if before is not None:
        models = {**before.models, vlm.name: sizes}
        return before.model_copy(
            update={"models": models, "facts": {**before.facts, vlm.name: facts}}
        )
    return SpeedReport(
        machine=machine.machine(vlm.device),
        commit=machine.commit(),
        versions=machine.versions(),
        repeats=setup.repeats,
        max_new_tokens=setup.max_new_tokens,
        options=setup.options.model_dump(),
        facts={vlm.name: facts},
        models={vlm.name: sizes},
        batch=speed.by_batch(vlm, setup),
    )


def _with_questions(setup: Setup) -> Setup:
    """The setup with questions to average over: the options' gate, if any, decides the routes."""
    from dataclasses import replace

    from laser_tools.evaluation.benchmarks import benchmark

    items = benchmark("microscenes").items("validation", N_QUESTIONS)
    return replace(setup, questions=[(item.image(), item.question) for item in items])


def _deliver(report: SpeedReport, json_file: Path | None) -> None:
    from laser_tools.evaluation.speed.pictures import speed_picture
    from laser_tools.evaluation.speed.report import summary

    if json_file is not None:
        console.write_json(console.plain_data(report), json_file)
    if json_file is None or str(json_file) != "-":
        typer.echo(summary(report))
    if json_file is not None and str(json_file) != "-":
        picture = speed_picture(report, json_file.with_suffix(".png"))
        typer.echo(f"wrote {json_file}\nwrote {picture}")
