"""The same agent over the real engine: a toy LLaVA for the wiring, pico for the answers."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

from langchain_core.messages import BaseMessage, ToolMessage
from PIL import Image

from laser_tools.engine import LocalEngine
from laser_tools.evaluation.same_answer import differences
from laser_tools.tools import LaserToolkit
from tests.agents.application import ask
from tests.toys import picture, toy_llava

N_ITEMS = 10
N_RIGHT = 6  # eight colours and as many shapes to choose from: chance gets one


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def assert_well_formed(messages: list[BaseMessage], size: tuple[int, int]) -> None:
    """Every tool result speaks of the original: boxes inside it, finite numbers, short text."""
    results = [message for message in messages if isinstance(message, ToolMessage)]
    assert [message.name for message in results[:2]] == ["zoom_to_evidence", "grounded_vqa"]
    for message in results:
        assert message.status == "success", message.text
        assert len(message.text) < 1000
        found = message.artifact
        assert tuple(found["image_size"]) == size
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        for evidence in found["evidence"]:
            box = evidence["box"]
            assert 0 <= box["x0"] < box["x1"] <= size[0]
            assert 0 <= box["y0"] < box["y1"] <= size[1]
    assert messages[-1].text


def test_the_agent_over_a_toy_model() -> None:
    image = picture()
    toolkit = LaserToolkit(engine=LocalEngine(toy_llava()))
    messages = ask(toolkit, png(image.pixels), "Where is the star?")
    assert_well_formed(messages, image.size)
    artifact = messages[-2].artifact  # type: ignore[attr-defined]
    assert artifact["margins"]
    assert len(artifact["localisation"]["vaq"]) > 1


async def test_parallel_calls_answer_as_serial_ones() -> None:
    toolkit = LaserToolkit(engine=LocalEngine(toy_llava()))
    handles = [toolkit.add_image(picture(seed=seed)) for seed in range(4)]
    tool = toolkit.get_tools()[0]
    calls: list[dict[str, Any]] = [{"image": h, "question": "Where is the star?"} for h in handles]
    serial = [tool.invoke(call) for call in calls]
    parallel = await asyncio.gather(*(tool.ainvoke(call) for call in calls * 3))
    for result, other in zip(parallel, serial * 3, strict=True):
        # the planner reads three digits, of which rounding may move the last by one
        assert differences(json.loads(result), json.loads(other), tolerance=2e-3) == []


def test_the_agent_over_pico_answers_rightly() -> None:
    from laser_tools.evaluation.benchmarks.microscenes.items import draw_items

    toolkit = LaserToolkit()  # the embedded model, loaded lazily
    right = 0
    for item in draw_items("test", N_ITEMS, types=("attribute",)):
        thread_id = str(item.scene_id)
        messages = ask(toolkit, png(item.image), item.question, thread_id=thread_id)
        assert_well_formed(messages, item.image.size)
        right += messages[-1].text.lower().startswith(item.answer)
    assert right >= N_RIGHT
