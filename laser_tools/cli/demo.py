"""`laser-tools demo`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laser_tools.cli import console

if TYPE_CHECKING:
    from laser_tools.demo.chatting import Planner
    from laser_tools.engine.base import Engine

Port = Annotated[
    int | None, typer.Option(min=1, max=65_535, help="Port; default: the first free from 7860.")
]
PlannerName = Annotated[
    str | None,
    typer.Option(
        "--planner",
        metavar="PROVIDER:MODEL",
        help="A chat model that plans in the chat, such as openai:gpt-5; default: a script.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(demo)


def demo(
    model: console.Model = "pico",
    device: console.Device = None,
    revision: console.Revision = None,
    dtype: console.Dtype = None,
    options: console.Options = None,
    worker: console.Worker = None,
    planner: PlannerName = None,
    port: Port = None,
) -> None:
    """Open a page that asks images, shows evidence, and chats.

    Only this machine can reach it, and it loads nothing from elsewhere.
    """
    console.require("The page", "demo")
    if not worker:
        console.require("Asking a model in this process", "engine")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    source = f"worker at {worker}" if worker else f"{Path(model).name} on this machine"
    plans = None if planner is None else _planner(planner)
    with console.engine(worker, model, device, revision, dtype, options) as engine:
        _serve(engine, source, plans, port)


def _planner(name: str) -> Planner:
    """The chat model of that name. Raises Misconfigured if it cannot be used."""
    from laser_tools.demo.chatting import Planner
    from laser_tools.tools.chat_model import chat_model

    return Planner(name, chat_model(name))


def _serve(engine: Engine, source: str, planner: Planner | None, port: int | None) -> None:
    """Serve the page until the process is told to end."""
    from laser_tools.demo.launch import served
    from laser_tools.demo.page import build

    with served(build(engine, source, planner), port) as url:
        typer.echo(f"The page is at {url} (Ctrl-C ends it).")
        while True:
            time.sleep(3600)
