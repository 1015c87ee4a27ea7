"""`laser-tools visor train`: a VISOR model of a user's own."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from laser_tools.cli import console
from laser_tools.errors import MissingExtra

if TYPE_CHECKING:
    from laser_tools.evaluation.visor.training.recipe import Layers
    from laser_tools.vlm.model import VLM

Out = Annotated[Path, typer.Option(help="Folder of the run; its model/ is what comes out.")]
Data = Annotated[Path, typer.Option(help="Conversations in LLaVA's format (JSON).")]
Images = Annotated[
    Path | None, typer.Option(help="Folder that image paths begin in; default: that of --data.")
]
CrossLayers = Annotated[
    str | None, typer.Option(help="They attend to images; default: every third one.")
]
SelfLayers = Annotated[
    str | None,
    typer.Option(help="They can also update visual tokens; default: four of the first half."),
]
Weights = Annotated[
    Literal["dense", "added"],
    typer.Option(help="Cross-attention by the layers' own weights, or by new ones before them."),
]
Routed = Annotated[bool, typer.Option("--router/--no-router", help="Train a router at the end.")]
Epochs = Annotated[float, typer.Option(min=0.001, help="Of each stage; may be less than 1.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Answers a step, on each device.")]
Accumulate = Annotated[int, typer.Option(min=1, help="Batches before the weights change.")]
LearningRate = Annotated[float, typer.Option(min=0.0, help="The highest; new weights: 100 times.")]
SaveEvery = Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that read images.")]
Cpu = Annotated[bool, typer.Option("--cpu", help="Train on the CPU even where there is a GPU.")]


def train(
    model: console.Model,
    data: Data,
    out: Out,
    images: Images = None,
    cross_layers: CrossLayers = None,
    self_layers: SelfLayers = None,
    weights: Weights = "dense",
    router: Routed = True,
    epochs: Epochs = 1.0,
    batch_size: BatchSize = 8,
    accumulate: Accumulate = 1,
    learning_rate: LearningRate = 1e-5,
    save_every: SaveEvery = 200,
    workers: Workers = 2,
    cpu: Cpu = False,
    json_file: console.JsonFile = None,
) -> None:
    """Make a VISOR model of the dense MODEL and train it. The same command resumes.

    For several GPUs: accelerate launch --no_python laser-tools visor train ...
    """
    console.require("Training a VISOR model", "engine")
    if importlib.util.find_spec("accelerate") is None:
        raise MissingExtra("Training a VISOR model", "train")
    from laser_tools.evaluation.visor.training import recipe
    from laser_tools.evaluation.visor.training.conversations import read_conversations
    from laser_tools.evaluation.visor.training.report import summary
    from laser_tools.evaluation.visor.training.stages import Schedule

    examples = read_conversations(data, images or data.parent)
    vlm = console.load_model(model, "cpu", dtype="float32")  # the Trainer places it
    report = recipe.train(
        recipe.Run(
            vlm,
            examples,
            _layers(vlm, cross_layers, self_layers, weights),
            Schedule(epochs, batch_size, accumulate, learning_rate, save_every, 10, workers, cpu),
            out,
            router,
        )
    )
    if os.environ.get("RANK", "0") != "0":  # another process tells
        return
    if json_file is not None:
        console.write_json(console.plain_data(report), json_file)
    if str(json_file) != "-":
        typer.echo(f"{summary(report)}\nwrote {out / 'model'}")


def _layers(
    vlm: VLM, cross: str | None, own: str | None, weights: Literal["dense", "added"]
) -> Layers:
    """The layers that were named, and the default ones in place of the others."""
    from laser_tools.evaluation.visor.training.recipe import Layers

    spread = Layers.spread(vlm.model.config.get_text_config().num_hidden_layers, weights)
    return Layers(
        spread.cross if cross is None else console.layers(cross),
        spread.own if own is None else console.layers(own),
        weights,
    )
