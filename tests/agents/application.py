"""The functions of agents/zoom_then_ask.py, which is run by its path: no package holds it."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage

PATH = Path(__file__).parents[2] / "agents" / "zoom_then_ask.py"

_names = runpy.run_path(str(PATH))
build_agent: Callable[..., Any] = _names["build_agent"]
ask: Callable[..., list[BaseMessage]] = _names["ask"]
transcript: Callable[[list[BaseMessage]], list[str]] = _names["transcript"]
