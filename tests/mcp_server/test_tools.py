"""What a client is told of the tools, and every way to be refused."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="needs the extra 'mcp'")

from mcp import Client
from mcp.shared.exceptions import MCPError

from laser_tools.mcp_server.folder import NO_FILE, OUTSIDE
from laser_tools.mcp_server.inputs import MAX_BASE64_CHARS
from tests.mcp_server.doors import ask, read, refusal
from tests.mcp_server.engine import server
from tests.tools.fakes import scene


async def added(root: Path | None, **arguments: Any) -> str:  # noqa: ANN401 (whatever is sent)
    """The refusal of an `add_image`; afterwards the session has no image."""
    async with Client(server(root)) as client:
        told = refusal(await client.call_tool("add_image", arguments))
        assert "Known: none" in refusal(await ask(client))
        return told


async def test_hints_and_schemas() -> None:
    async with Client(server(None)) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert list(tools) == ["add_image", "grounded_vqa", "zoom_to_evidence"]
    hints = {name: tool.annotations for name, tool in tools.items()}
    assert all(hint and hint.open_world_hint is False for hint in hints.values())
    reads = {name for name, hint in hints.items() if hint and hint.read_only_hint}
    assert reads == {"grounded_vqa", "zoom_to_evidence"}
    for tool in tools.values():
        assert tool.output_schema
        assert tool.output_schema["type"] == "object"
        assert "prefixItems" not in str(tool.output_schema)
    assert set(tools["add_image"].input_schema["properties"]) == {"data"}


async def test_paths_are_offered_with_a_folder_only(tmp_path: Path) -> None:
    async with Client(server(tmp_path)) as client:
        add_image = (await client.list_tools()).tools[0]
    assert set(add_image.input_schema["properties"]) == {"data", "path"}
    assert "path" in await added(None, path="red.png")


@pytest.mark.parametrize("path", ["red.png", "in/red.png", "./in/../red.png", "in//red.png"])
async def test_a_path_in_the_folder(path: str, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "in"):
        folder.mkdir(exist_ok=True)
        (folder / "red.png").write_bytes(scene())
    if ".." in path:
        assert OUTSIDE in await added(tmp_path, path=path)
        return
    async with Client(server(tmp_path)) as client:
        for named in (path, str(tmp_path / path)):
            assert read(await client.call_tool("add_image", {"path": named}))["image"] == "img_1"


@pytest.mark.parametrize(
    "path",
    ["../secret.png", "in/../../secret.png", "/etc/hostname", "{outside}", ".", "..", "in/\0.png",
     "//etc/hostname", "{root}/../secret.png"],
)  # fmt: skip
async def test_a_path_outside_the_folder(path: str, tmp_path: Path) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret.png"
    (root / "in").mkdir(parents=True)
    secret.write_bytes(scene())
    assert OUTSIDE in await added(root, path=path.format(outside=secret, root=root))


async def test_links_and_what_is_no_file(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(scene())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "folder").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.png")
    (root / "directory.png").mkdir()
    for path in ("link.png", "folder/secret.png", "pipe.png", "directory.png", "nothing.png",
                 "file:///etc/hostname", "https://localhost/a.png"):  # fmt: skip
        assert NO_FILE in await added(root, path=path), path


async def test_a_folder_that_is_itself_a_link_is_meant(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "red.png").write_bytes(scene())
    (tmp_path / "root").symlink_to(tmp_path / "real")
    async with Client(server(tmp_path / "root")) as client:
        for path in ("red.png", tmp_path / "root" / "red.png", tmp_path / "real" / "red.png"):
            result = await client.call_tool("add_image", {"path": str(path)})
            assert read(result)["image"] == "img_1"


async def test_bytes_that_are_none_or_too_many_or_no_image() -> None:
    big = base64.b64encode(bytes(10 * 2**20)).decode()
    assert str(MAX_BASE64_CHARS) in await added(None, data=big)
    fits = "A" * MAX_BASE64_CHARS
    assert "could not be decoded" in await added(None, data=fits)
    assert "not base64" in await added(None, data="data:image/png;base64,AAAA")
    assert "no image" in await added(None)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [("grounded_vqa", {"image": "img_1"}, "question: Field required"),
     ("grounded_vqa", {"image": "img_1", "question": "?", "choices": ["a"]}, "at least two"),
     ("zoom_to_evidence", {"image": "img_1", "what": "it", "n_regions": 9}, "n_regions"),
     ("grounded_vqa", {"image": "/etc/hostname", "question": "?"}, "must be a handle"),
     ("add_image", {"data": ["c4n4ry"]}, "data: Input should be a valid string"),
     ("add_image", {"url": "http://localhost/a.png"}, "url: Extra inputs")],
)  # fmt: skip
async def test_wrong_arguments(name: str, arguments: dict[str, Any], words: str) -> None:
    async with Client(server(None)) as client:
        told = refusal(await client.call_tool(name, arguments))
        assert words in told
        assert "c4n4ry" not in told


async def test_what_there_is_not() -> None:
    async with Client(server(None)) as client:
        with pytest.raises(MCPError, match="no such tool"):
            await client.call_tool("shell", {})
        for uri in ("laser://images/img_1", "file:///etc/hostname", "laser://images/../img_1"):
            with pytest.raises(MCPError, match="Known: none"):
                await client.read_resource(uri)
