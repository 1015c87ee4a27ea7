"""Shared by every command: parameters, progress, JSON, a sentence for what is not installed."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import typer
from pydantic import BaseModel

from laser_tools.errors import InvalidRequest, MissingExtra

if TYPE_CHECKING:
    from laser_tools.client import WorkerClient
    from laser_tools.engine.base import Engine
    from laser_tools.options import LaserOptions, PromptOptions
    from laser_tools.schema import MethodName
    from laser_tools.vlm.model import VLM

EXTRAS = {
    "engine": ("torch", "transformers", "matplotlib", "tqdm", "numpy", "sklearn"),
    "server": ("fastapi", "uvicorn", "prometheus_client"),
    "data": ("torch", "ray", "pyarrow"),
    "demo": ("gradio", "langchain"),
    "mcp": ("mcp",),
    "serve": ("torch", "fastapi", "uvicorn", "prometheus_client", "ray"),
}
"""Modules that each extra brings; the first one missing is enough to name the extra."""

Split = Literal["train", "validation", "test"]

Model = Annotated[
    str,
    typer.Option(
        help="pico or pico-visor, which are embedded, a model's folder, or a hub id in the cache."
    ),
]
Revision = Annotated[
    str | None, typer.Option(help="Of a hub id: a branch, tag or commit in the local cache.")
]
Dtype = Annotated[
    Literal["float32", "float16", "bfloat16"] | None,
    typer.Option(help="Precision; default: float32 on a CPU, the checkpoint's own elsewhere."),
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: a GPU if there is one.")
]
Freeze = Annotated[
    str | None,
    typer.Option(
        "--freeze-visual-layers",
        metavar="L,L,...",
        help="Visual tokens stay as they are in these layers ('laser-tools visor probe').",
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--options", metavar="KEY=VALUE", help="Change one option of the method; may be repeated."
    ),
]
Worker = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="LASER_BASE_URL",
        help="Ask this worker (key: LASER_API_KEY), not a model here.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the result as JSON to this file (- = stdout).")
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed draws the same items.")]


def layers(text: str | None) -> tuple[int, ...]:
    """The layers that a text such as 1,4,6 names, if any. Raises InvalidRequest."""
    parts = [part.strip() for part in text.split(",")] if text else []
    if not all(part.isdecimal() for part in parts):
        raise InvalidRequest(f"Layers are whole numbers with commas, like 1,4,6; not {text!r}.")
    return tuple(int(part) for part in parts)


def group(about: str) -> typer.Typer:
    """A command that only holds others; without one of them it prints its help."""
    holder = typer.Typer(invoke_without_command=True)
    holder.callback(help=about)(show_help)
    return holder


def show_help(context: typer.Context) -> None:
    """Print the help of the command line so far if no command follows."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def require(
    what: str, *extras: Literal["engine", "server", "serve", "data", "demo", "mcp"]
) -> None:
    """Raise MissingExtra, naming all `extras`, if a module of theirs is not installed."""
    modules = [module for extra in extras for module in EXTRAS[extra]]
    if any(importlib.util.find_spec(module) is None for module in modules):
        raise MissingExtra(what, *extras)


def progress(total: int, what: str) -> Any:  # noqa: ANN401 (a tqdm bar; tqdm has no types)
    """A bar on stderr that appears if the work takes longer than a second; none without tqdm."""
    try:
        from tqdm import tqdm
    except ImportError:  # a client alone
        return _NoBar()
    return tqdm(total=total, desc=what, delay=1.0, file=sys.stderr, leave=False)


class _NoBar:
    """A bar that shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, done: int = 1) -> None:
        """Nothing."""


def load_model(
    model: str,
    device: str | None,
    revision: str | None = None,
    dtype: str | None = None,
    *,
    freeze: str | None = None,
    fit: bool = True,
) -> VLM:
    """The VLM (`load_vlm`), with a progress bar.

    With `fit`, a model of an unlisted family is examined first. Raises ModelUnavailable, or
    InvalidRequest for a device that is not there, or layers to `freeze` that are not.
    """
    frozen = layers(freeze)
    with progress(1, "loading the model") as bar:
        import torch

        from laser_tools.doctor.checks import refuse_unfit
        from laser_tools.vlm.load import load_vlm

        vlm = load_vlm(
            model,
            device=device,
            revision=revision,
            dtype=None if dtype is None else getattr(torch, dtype),
            freeze_visual_layers=frozen,
        )
        if fit:
            refuse_unfit(vlm)
        bar.update()
    return vlm


def remote(worker: str, *of_a_model_here: object) -> WorkerClient:
    """The client of the worker that was named; it needs no extra.

    Raises:
        InvalidRequest: options of a model in this process were given as well.
        Misconfigured: an address, key or timeout that cannot be used.
    """
    if any(of_a_model_here):
        raise InvalidRequest(
            "A worker has its own model and options: leave out --device, --revision, --dtype, "
            "--freeze-visual-layers and --options, or leave out --worker and unset LASER_BASE_URL."
        )
    from laser_tools.client import WorkerClient

    return WorkerClient.from_env(worker)


@contextmanager
def engine(
    worker: str | None,
    model: str,
    device: str | None,
    revision: str | None,
    dtype: str | None,
    options: list[str] | None,
) -> Iterator[Engine]:
    """The worker that was named, or else a model in this process with these options of LASER."""
    if worker:
        with remote(worker, device, revision, dtype, options) as client:
            yield client
        return
    from laser_tools.engine.local import LocalEngine

    changed = options_from(options)
    yield LocalEngine(load_model(model, device, revision, dtype), changed)


def options_from(pairs: list[str] | None) -> LaserOptions:
    """The default options changed by KEY=VALUE texts. Raises InvalidRequest."""
    from laser_tools.evaluation.arms import with_overrides
    from laser_tools.options import LaserOptions

    return with_overrides(LaserOptions(), pairs or [])


def options_of(method: MethodName, pairs: list[str] | None) -> PromptOptions:
    """The default options of a method, changed by KEY=VALUE texts. Raises InvalidRequest."""
    from laser_tools.evaluation.arms import with_overrides
    from laser_tools.methods import METHODS

    return with_overrides(METHODS[method].options(), pairs or [])


def plain_data(result: BaseModel) -> Any:  # noqa: ANN401 (whatever JSON holds)
    """A result as JSON data; an infinite number is the text "Infinity"."""
    return json.loads(result.model_dump_json())


def echo_json(data: object) -> None:
    """Print JSON on stdout."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def write_json(data: object, path: Path) -> None:
    """Write JSON to `path`, or to stdout if it is "-"."""
    if str(path) == "-":
        echo_json(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
