"""`laser-tools mcp`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laser_tools.cli import console
from laser_tools.errors import InvalidRequest

if TYPE_CHECKING:
    from laser_tools.engine.base import Engine

DEFAULT_PORT = 8808

Http = Annotated[
    bool, typer.Option("--http", help="Serve HTTP on 127.0.0.1 (key: LASER_MCP_KEY), not stdio.")
]
Port = Annotated[
    int | None, typer.Option(min=0, max=65_535, help=f"With --http: default {DEFAULT_PORT}.")
]
Root = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The folder whose image files may be named.")
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(mcp)


def mcp(
    model: console.Model = "pico",
    device: console.Device = None,
    revision: console.Revision = None,
    dtype: console.Dtype = None,
    options: console.Options = None,
    worker: console.Worker = None,
    root: Root = None,
    http: Http = False,
    port: Port = None,
) -> None:
    """Give the tools to an MCP client, over stdio or HTTP."""
    console.require("The MCP server", "mcp")
    if not worker:
        console.require("Asking a model in this process", "engine")
    if port is not None and not http:
        raise InvalidRequest("--port goes with --http.")
    chosen = DEFAULT_PORT if port is None else port
    serve = _prepared(root, chosen if http else None)
    with console.engine(worker, model, device, revision, dtype, options) as engine:
        serve(engine)


def _prepared(root: Path | None, port: int | None) -> Callable[[Engine], None]:
    """A function that serves an engine until the client leaves; without a port, over stdio.

    Raises Misconfigured now, before a model is loaded.
    """
    from laser_tools.images.store import ImageStore
    from laser_tools.mcp_server import http, stdio
    from laser_tools.mcp_server.folder import ImageFolder
    from laser_tools.mcp_server.server import build
    from laser_tools.settings import read_settings

    folder = None if root is None else ImageFolder(root)
    if port is None:
        return lambda engine: stdio.serve(build(engine, folder, ImageStore()))
    key, listening = http.checked_key(read_settings().mcp_key), http.listen(port)

    def over_http(engine: Engine) -> None:
        url = f"http://{http.HOST}:{listening.getsockname()[1]}{http.PATH}"
        typer.echo(f"The MCP server is at {url} (Ctrl-C ends it).")
        http.serve(http.guarded_app(build(engine, folder, ImageStore()), key), listening)

    return over_http
