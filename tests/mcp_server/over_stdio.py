"""A server over stdio, of which the tests are the client."""

from __future__ import annotations

import sys
from pathlib import Path

from laser_tools.mcp_server import stdio
from tests.mcp_server.engine import server

if __name__ == "__main__":
    stdio.serve(server(Path(sys.argv[1]) if sys.argv[1:] else None))
