"""`laser-tools mcp`, as a desktop client starts it, and where it does not start."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from laser_tools import cli
from laser_tools.cli import console
from laser_tools.pico import SCENE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")
needs_mcp = pytest.mark.skipif(find_spec("mcp") is None, reason="needs the extra 'mcp'")


def test_the_command_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(console.EXTRAS, "mcp", ("no_such_module",))
    assert cli.run(["mcp"]) == 2
    assert "laser-tools[mcp]" in capsys.readouterr().err


@needs_mcp
@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--http"], "LASER_MCP_KEY"), (["--port", "1"], "--port goes with --http"),
     (["--root", "/no/such/folder"], "--root must be a folder")],
)  # fmt: skip
def test_what_is_wrong_is_said_before_a_model_is_loaded(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["mcp", "--model", "/no/such/model", *arguments]) == 2
    assert words in capsys.readouterr().err


@needs_mcp
async def test_the_configuration_of_the_page_answers(tmp_path: Path) -> None:
    """The command is this checkout's, and the folder another; pico looks, and is right."""
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters
    from mcp_types import ImageContent

    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    configured = json.loads(block)["mcpServers"]["laser"]
    assert configured["command"] == "laser-tools"
    (tmp_path / "scene.png").write_bytes(SCENE.read_bytes())
    arguments = [str(tmp_path) if "/" in word else word for word in configured["args"]]
    start = "import sys; from laser_tools.cli import main; sys.argv[0] = 'laser-tools'; main()"
    started = StdioServerParameters(
        command=sys.executable,
        args=["-c", start, *arguments],
        cwd=ROOT,
        env={"OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]},
    )
    async with Client(started) as client:
        await client.call_tool("add_image", {"path": "scene.png"})
        question = "What number is on the yellow square?"
        asked = {"image": "img_1", "question": question}
        result = await client.call_tool("grounded_vqa", asked)
    assert result.structured_content
    assert result.structured_content["answer"] == "511"
    pictures = [part for part in result.content if isinstance(part, ImageContent)]
    assert pictures
    assert base64.b64decode(pictures[0].data).startswith(b"\xff\xd8")
