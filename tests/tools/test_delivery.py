"""Delivery of crops to a planner: by name, inline, or beside the tool messages on the wire."""

from __future__ import annotations

import base64
import io
import json
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from PIL import Image, ImageChops

from laser_tools.tools import LaserToolkit
from laser_tools.tools.delivery import encode_within, image_blocks
from laser_tools.tools.middleware import AttachedImages
from laser_tools.tools.middleware.crops import (
    MAX_PICTURES,
    insert_after_tools,
    insert_in_tools,
    newest_pictures,
)
from laser_tools.tools.pictures import Picture
from tests.tools.fakes import ColourEngine
from tests.tools.test_tools import call


def pixels_of(block: dict[str, Any]) -> Image.Image:
    assert (block["type"], block["mime_type"]) == ("image", "image/jpeg")
    return Image.open(io.BytesIO(base64.b64decode(block["base64"])))


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.effect_noise(size, 80).convert("RGB")


def test_handle_is_text_only(toolkit: LaserToolkit) -> None:
    message = call(toolkit, "zoom_to_evidence", {"image": "img_1", "what": "it"})
    assert isinstance(message.content, str)
    assert [type(each) for each in toolkit.middleware()] == [AttachedImages]


@pytest.mark.parametrize("tool", ["zoom_to_evidence", "grounded_vqa"])
def test_inline_adds_the_crop(toolkit: LaserToolkit, engine: ColourEngine, tool: str) -> None:
    inline = LaserToolkit(engine=engine, images=toolkit.images, crops="inline")
    args = {"grounded_vqa": {"question": "?"}, "zoom_to_evidence": {"what": "it"}}[tool]
    content = call(inline, tool, {"image": "img_1", **args}).content
    assert isinstance(content, list)
    text, image = content
    assert isinstance(text, dict)
    assert isinstance(image, dict)
    assert json.loads(text["text"])["image"] == "img_1"
    crop = toolkit.images.get("img_1.c1").image
    assert pixels_of(image).size == crop.size == (400, 200)


@pytest.mark.parametrize("budget", [6000, 20_000, 200_000])
@pytest.mark.parametrize("count", [1, 3])
def test_blocks_stay_within_the_budget(budget: int, count: int) -> None:
    blocks = image_blocks([noise((512, 384))] * count, budget)
    assert len(blocks) == count
    assert sum(len(block["base64"]) for block in blocks) <= budget


def test_an_image_that_cannot_fit_is_left_out() -> None:
    assert encode_within(noise((64, 64)), 100) is None
    assert image_blocks([noise((64, 64))], 100) == []
    assert image_blocks([], 100) == []


def turn(*crops: list[str]) -> list[AnyMessage]:
    """A question and one parallel tool call per list of crops."""
    tools = [
        ToolMessage("{}", tool_call_id=str(i), artifact={"crops": c}) for i, c in enumerate(crops)
    ]
    return [HumanMessage("?"), AIMessage(""), *tools]


BLOCKS = {Picture(f"img_1.c{n}"): [{"n": n}] for n in (1, 2)}


def test_crops_come_after_the_last_of_parallel_tool_messages() -> None:
    messages = turn(["img_1.c1"], ["img_1.c2"])
    shown = insert_after_tools(messages, BLOCKS, "crops")
    assert shown[:4] == messages
    assert isinstance(shown[4], HumanMessage)
    assert shown[4].content[1:] == [{"n": 1}, {"n": 2}]
    assert "img_1.c1, img_1.c2" in shown[4].text


def test_crops_come_in_the_tool_message_that_named_them_first() -> None:
    messages = [*turn(["img_1.c1"], ["img_1.c2"]), *turn(["img_1.c1"])]
    shown = insert_in_tools(messages, BLOCKS, "crops")
    text = {"type": "text", "text": "{}"}
    assert [m.content for m in shown[2:4]] == [[text, {"n": 1}], [text, {"n": 2}]]
    assert shown[4:] == messages[4:]
    assert [m.content for m in messages[2:4]] == ["{}", "{}"], "the stored ones are as they were"


def test_a_crop_is_shown_once_and_nothing_is_shown_for_none() -> None:
    messages = [*turn(["img_1.c1"]), *turn(["img_1.c1"]), *turn([])]
    shown = insert_after_tools(messages, {Picture("img_1.c1"): [{"n": 1}]}, "crops")
    assert len(shown) == len(messages) + 1


def test_the_newest_crops_are_chosen() -> None:
    messages = turn(*[[f"img_1.c{i}"] for i in range(10)])
    newest = [Picture(f"img_1.c{i}") for i in range(9, 9 - MAX_PICTURES, -1)]
    assert newest_pictures(messages, "crops") == newest


@pytest.mark.parametrize("view", ["crops", "overlay"])
@pytest.mark.parametrize("artifact", [None, "x", [], {}, {"crops": None}, {"crops": [7]}])
def test_foreign_artifacts_are_ignored(artifact: object, view: Literal["crops", "overlay"]) -> None:
    message = ToolMessage("", tool_call_id="1", artifact=artifact)
    assert newest_pictures([message], view) == []


def test_an_overlay_is_the_original_with_the_boxes_drawn_in(
    toolkit: LaserToolkit, engine: ColourEngine
) -> None:
    inline = LaserToolkit(engine=engine, images=toolkit.images, crops="inline", evidence="overlay")
    message = call(inline, "zoom_to_evidence", {"image": "img_1", "what": "it"})
    image = message.content[1]
    assert isinstance(image, dict)
    shown = pixels_of(image)
    assert shown.size == (800, 400)
    difference = ImageChops.difference(shown, inline.result(message).evidence_image())
    assert sum(difference.convert("L").histogram()[64:]) < 200  # pixels: JPEG blurs lines
    (picture,) = newest_pictures([message], "overlay")
    assert picture.caption == "img_1 with the evidence outlined"
