"""Every tool over every transport, with the SDK's own client."""

from __future__ import annotations

import asyncio
import base64
import io
from pathlib import Path

import pytest

pytest.importorskip("mcp", reason="needs the extra 'mcp'")

from mcp.shared.exceptions import MCPError
from mcp_types import BlobResourceContents, ImageContent, ResourceLink
from PIL import Image

from tests.mcp_server.doors import ALL, HTTP, MEMORY, Door, add, ask, opened, read, refusal
from tests.tools.fakes import RED_BOX, scene

PATIENCE_S = 60


@pytest.mark.parametrize("door", ALL)
async def test_the_three_tools(door: Door, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(scene())
    told: list[tuple[float, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        assert total == 2
        told.append((progress, message))

    with opened(door, tmp_path) as connect:
        async with connect() as client:
            tools = (await client.list_tools()).tools
            assert [tool.name for tool in tools] == [
                "add_image",
                "grounded_vqa",
                "zoom_to_evidence",
            ]
            assert all(tool.output_schema for tool in tools)
            assert read(await add(client)) == {"image": "img_1", "size": [800, 400]}
            named = await client.call_tool("add_image", {"path": "red.png"})
            assert read(named)["image"] == "img_1"  # equal pixels
            answer = await client.call_tool(
                "grounded_vqa",
                {"image": "img_1", "question": "Colour?"},
                progress_callback=note,
            )
            assert read(answer)["answer"] == "red"
            assert read(answer)["evidence"][0]["box"] == list(RED_BOX.as_tuple())
            assert told == [
                (0, "image"), (1, "model"), (1.5, "attend"), (1.75, "decode"), (2, "done"),
            ]  # fmt: skip
            found = await client.call_tool("zoom_to_evidence", {"image": "img_1", "what": "it"})
            assert read(found)["regions"][0]["crop"] == "img_1.c1"
            assert read(await ask(client, "img_1.c1"))["crops"][0]["image"] == "img_1.c1.c1"


@pytest.mark.parametrize("door", ALL)
async def test_cancelling_frees_the_model(door: Door) -> None:
    """The engine answers one question at a time, and "wait" never ends by itself."""
    asked = asyncio.Event()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        if message == "model":
            asked.set()

    with opened(door) as connect:
        async with connect() as client:
            await add(client)
            waiting = {"image": "img_1", "question": "wait"}
            call = asyncio.ensure_future(
                client.call_tool("grounded_vqa", waiting, progress_callback=note)
            )
            await asyncio.wait_for(asked.wait(), PATIENCE_S)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert read(await asyncio.wait_for(ask(client), PATIENCE_S))["answer"] == "red"


@pytest.mark.parametrize("door", [*MEMORY, HTTP])
async def test_a_fault_of_the_engine_is_told_without_its_text(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(door) as connect:
        async with connect() as client:
            await add(client)
            with pytest.raises(MCPError, match="The server failed"):
                await ask(client, question="bug")
            assert read(await ask(client))["answer"] == "red"
    assert "c4n4ry" not in caplog.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("door", [*MEMORY, HTTP])
async def test_clients_do_not_see_each_others_images(door: Door) -> None:
    with opened(door) as connect:
        async with connect() as first, connect() as second:
            await add(first, "red")
            assert "Known: none" in refusal(await ask(second))
            with pytest.raises(MCPError, match="Known: none"):
                await second.read_resource("laser://images/img_1")
            assert (await second.list_resources()).resources == []
            await add(second, "blue")
            assert read(await ask(first))["answer"] == "red"
            assert read(await ask(second))["answer"] == "blue"


@pytest.mark.parametrize("door", [*MEMORY, HTTP])
async def test_a_crop_is_a_picture_and_a_resource(door: Door) -> None:
    with opened(door) as connect:
        async with connect() as client:
            await add(client)
            _, picture, link = (await ask(client)).content
            assert isinstance(picture, ImageContent)
            assert isinstance(link, ResourceLink)
            assert (link.name, link.mime_type) == ("img_1.c1", picture.mime_type)
            (blob,) = (await client.read_resource(link.uri)).contents
            assert isinstance(blob, BlobResourceContents)
            for data in (picture.data, blob.blob):
                shown = Image.open(io.BytesIO(base64.b64decode(data)))
                assert (shown.format, shown.size) == ("JPEG", (400, 200))
            listed = {resource.uri for resource in (await client.list_resources()).resources}
            assert listed == {"laser://images/img_1", link.uri}
            (template,) = (await client.list_resource_templates()).resource_templates
            assert template.uri_template.format(image="img_1.c1") == link.uri
