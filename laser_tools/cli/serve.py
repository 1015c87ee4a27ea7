"""`laser-tools serve`."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from laser_tools.cli import console
from laser_tools.errors import InvalidRequest

if TYPE_CHECKING:
    from laser_tools.worker.backends.base import Backend
    from laser_tools.worker.ray.local import LocalCluster
    from laser_tools.worker.settings import WorkerSettings

Host = Annotated[str | None, typer.Option(help="Address to listen on; default: 127.0.0.1.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on, 0 = any; default: 8000.")]
Model = Annotated[
    str | None, typer.Option(help="Model's name, folder or cached hub id; default: pico.")
]
MaxQueued = Annotated[
    int | None, typer.Option(help="Questions that may wait or run at once; default: 64.")
]
MaxBatch = Annotated[
    int | None, typer.Option("--max-batch-size", help="Questions in one batch; default: 16.")
]
MaxWait = Annotated[
    float | None, typer.Option(help="How long a question waits for others; default: 5 ms.")
]
Drain = Annotated[
    float | None, typer.Option(help="Seconds that SIGTERM leaves to what is in flight; 30.")
]
Isolated = Annotated[
    bool | None,
    typer.Option(
        "--isolated", help="Run the model in a process of its own, restarted when it ends."
    ),
]
Ray = Annotated[bool, typer.Option("--ray", help="Run the model in replicas, by Ray Serve.")]
Replicas = Annotated[int | None, typer.Option(help="With --ray: how many; default: 1.")]
CheckOnly = Annotated[
    bool,
    typer.Option(
        "--check", help="Load the model, try the address, show the configuration, and end."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(serve)


def serve(
    model: Model = None,
    host: Host = None,
    port: Port = None,
    device: console.Device = None,
    dtype: console.Dtype = None,
    revision: console.Revision = None,
    freeze: console.Freeze = None,
    max_queued: MaxQueued = None,
    max_batch_size: MaxBatch = None,
    max_wait_ms: MaxWait = None,
    drain_s: Drain = None,
    isolated: Isolated = None,
    ray: Ray = False,
    replicas: Replicas = None,
    check: CheckOnly = False,
) -> None:
    """Serve MODEL over HTTP. Every setting is also a variable, LASER_PORT and so on.

    Keys come from LASER_API_KEYS alone: other users of a machine can read command lines.
    """
    console.require("Serving a model", "engine", "server")
    from laser_tools.worker.settings import worker_settings

    settings = worker_settings(
        model=model, host=host, port=port, device=device, dtype=dtype, revision=revision,
        freeze_visual_layers=freeze, max_queued=max_queued, max_batch_size=max_batch_size,
        max_wait_ms=max_wait_ms, drain_s=drain_s, isolated=isolated,
    )  # fmt: skip
    cluster = _cluster(settings, replicas) if ray else None
    if replicas is not None and not ray:
        raise InvalidRequest("--replicas goes with --ray.")
    from laser_tools.worker.run import check_start, log_to_stderr, serve

    if check:
        check_start(settings)
        shown = {**settings.redacted(), **({"ray": cluster.shown()} if cluster else {})}
        typer.echo(json.dumps(shown, indent=2))
        return
    log_to_stderr()
    if serve(settings, cluster.backend() if cluster else _backend(settings)):
        _end_now()


def _backend(settings: WorkerSettings) -> Backend:
    """The model in this process, or in one of its own."""
    from laser_tools.worker.backends.local import local_backend
    from laser_tools.worker.isolated.backend import isolated_backend

    return isolated_backend(settings) if settings.isolated else local_backend(settings)


def _cluster(settings: WorkerSettings, replicas: int | None) -> LocalCluster:
    console.require("Serving by Ray", "serve")
    from laser_tools.worker.ray.local import LocalCluster
    from laser_tools.worker.ray.options import options

    return LocalCluster(settings, options(replicas=replicas))


def _end_now() -> None:
    """Exit without clean-up: a model thread that hangs in a driver would block a normal exit."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(1)
