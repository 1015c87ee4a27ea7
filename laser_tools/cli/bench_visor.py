"""`laser-tools bench visor`: what visual tokens cost and what they are worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laser_tools.cli import console
from laser_tools.errors import InvalidRequest

if TYPE_CHECKING:
    from laser_tools.evaluation.visor.report import VisorReport
    from laser_tools.visor.config import Configuration
    from laser_tools.vlm.model import VLM

SIZED_BY = 8  # questions whose prompts are measured


def visor(
    model: console.Model = "pico",
    cross_layers: Annotated[
        str | None, typer.Option(help="Of a dense model, comma-separated: they attend to images.")
    ] = None,
    self_layers: Annotated[
        str | None, typer.Option(help="Of a dense model: they can also update visual tokens.")
    ] = None,
    configurations: Annotated[
        str | None,
        typer.Option(help="Active layers, as 0;0,3. Default: the router's, or the model's."),
    ] = None,
    split: Annotated[console.Split, typer.Option(help="Which items.")] = "test",
    n: Annotated[int, typer.Option("--n", min=1, help="How many questions.")] = 600,
    timed: Annotated[int, typer.Option(min=1, help="Of these, timed one at a time.")] = 16,
    seed: console.Seed = 0,
    sizes: Annotated[
        bool, typer.Option(help="Also FLOPs of LLaVA-OneVision-0.5B, and a timed toy prefill.")
    ] = True,
    visual_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Only time a toy's prefill of so many; no model, no questions."),
    ] = None,
    device: console.Device = None,
    json_file: console.JsonFile = None,
) -> None:
    """Set accuracy against FLOPs and seconds: dense, configurations, router, token pruning.

    A dense model is given layers first (--cross-layers, --self-layers), with no training. Pruning
    keeps as many tokens as each configuration's FLOPs allow (FastV). With --json FILE, a picture is
    drawn beside it.
    """
    console.require("The bench", "engine")
    if visual_tokens is not None:
        _time_prefill(visual_tokens, json_file)
        return
    vlm = _with_layers(console.load_model(model, device), cross_layers, self_layers)
    chosen = _configurations(vlm, configurations)
    _deliver(_measured(vlm, chosen, split, n, timed, seed, sizes=sizes), json_file)


def _with_layers(vlm: VLM, cross_layers: str | None, self_layers: str | None) -> VLM:
    """A VISOR model over the dense one, or the VISOR model that was given."""
    from dataclasses import replace

    from laser_tools.visor.model import VisorForConditionalGeneration

    given = cross_layers is not None or self_layers is not None
    if isinstance(vlm.model, VisorForConditionalGeneration):
        if given:
            raise InvalidRequest("This VISOR model has its layers: leave --cross-layers and "
                                 "--self-layers out.")  # fmt: skip
        return vlm
    if not given:
        raise InvalidRequest(
            "This is a dense model: say which of its layers attend to visual tokens "
            "(--cross-layers 1,4,6) and which can update them (--self-layers 0,3)."
        )
    layers = console.layers(cross_layers), console.layers(self_layers)
    made = VisorForConditionalGeneration.from_dense(vlm.model, *layers)
    return replace(vlm, model=made.eval())


def _configurations(vlm: VLM, text: str | None) -> list[Configuration]:
    from laser_tools.visor.config import chosen

    config = vlm.model.config
    if text is not None:
        return [chosen(config, console.layers(part)) for part in text.split(";")]
    named = config.configurations or [config.active]
    return [chosen(config, layers) for layers in named]


def _measured(
    vlm: VLM, chosen: list[Configuration], split: str, n: int, timed: int, seed: int, *, sizes: bool
) -> VisorReport:
    from laser_tools.evaluation import machine
    from laser_tools.evaluation.benchmarks import benchmark
    from laser_tools.evaluation.visor import bench, geometry
    from laser_tools.evaluation.visor.report import VisorReport

    asked = benchmark("microscenes")
    size = bench.mean_size(vlm, list(asked.items(split, min(n, SIZED_BY), seed)))
    found = bench.ways(vlm, chosen, size)
    with console.progress(n, f"bench {split}") as bar:
        bench.run(found, asked.items(split, n, seed), timed, bar.update, asked.score)
    configs = bench.reports(found, size)
    routed = found.get(bench.ROUTER)
    return VisorReport(
        model=vlm.name,
        split=split,
        n=n,
        seed=seed,
        machine=machine.machine(vlm.device),
        commit=machine.commit(),
        n_visual=size.n_visual,
        n_text=size.n_text,
        configs=configs,
        router=bench.router_report(routed, configs[bench.ROUTER]) if routed else None,
        geometry=geometry.onevision_ratios() if sizes else {},
        prefill=geometry.prefill() if sizes else None,
    )


def _time_prefill(n_visual: int, json_file: Path | None) -> None:
    from laser_tools.evaluation.visor.geometry import prefill
    from laser_tools.evaluation.visor.report import prefill_line

    found = prefill(n_visual)
    if json_file is not None:
        console.write_json(console.plain_data(found), json_file)
    if str(json_file) != "-":
        typer.echo(prefill_line(found))


def _deliver(report: VisorReport, json_file: Path | None) -> None:
    from laser_tools.evaluation.visor.pictures import cost_picture
    from laser_tools.evaluation.visor.report import summary

    if json_file is not None:
        console.write_json(console.plain_data(report), json_file)
    if str(json_file) != "-":
        typer.echo(summary(report))
    if json_file is not None and str(json_file) != "-":
        picture = cost_picture(report, json_file.with_suffix(".png"))
        typer.echo(f"wrote {json_file}\nwrote {picture}")
