"""The server over this process's stdin and stdout, for the client that started it."""

from __future__ import annotations

import asyncio
import logging

from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server


def serve(server: Server[str]) -> None:
    """Serve until the client closes stdin."""
    logging.getLogger("mcp").setLevel(logging.ERROR)
    asyncio.run(_serve(server))


async def _serve(server: Server[str]) -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())
