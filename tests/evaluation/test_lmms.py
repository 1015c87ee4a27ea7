"""What lmms-eval puts as a question, as our request; the model itself: tests/frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from laser_tools.errors import InvalidRequest
from laser_tools.evaluation.lmms.requests import request_of, until

RED = Image.new("RGB", (40, 30), (255, 0, 0))
GREEDY = {"max_new_tokens": 8, "temperature": 0, "do_sample": False}


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def image(url: object = RED, kind: str = "image") -> dict[str, Any]:
    return {"type": kind, "url": url}


def test_text_and_an_image_are_a_question(tmp_path: Path) -> None:
    RED.save(tmp_path / "red.png")
    asked = request_of(user(image(), text("What is it? ")), GREEDY, "carve")
    same = request_of(user(text("What is it?"), image(str(tmp_path / "red.png"))), {}, "plain")
    assert (asked.question, asked.method, asked.max_new_tokens) == ("What is it?", "carve", 8)
    assert (same.question, same.image.sha256) == (asked.question, asked.image.sha256)
    assert request_of(user(image(), text("What?")), {"max_new_tokens": 1024}, "laser")


@pytest.mark.parametrize(
    ("messages", "generation", "why"),
    [
        (user(text("What?")), GREEDY, "has 0 images"),
        (user(image(), image(), text("What?")), GREEDY, "has 2 images"),
        (user(image(), image("a.mp4", "video"), text("What?")), GREEDY, "1 images, video"),
        (user(image(), text(" ")), GREEDY, "question cannot be used"),
        (user(image(), text("What?")), {"temperature": 0.7}, "greedy"),
        (user(image(), text("What?")), {"do_sample": True}, "greedy"),
    ],
)
def test_other_questions_are_refused(
    messages: list[dict[str, Any]], generation: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidRequest, match=why):
        request_of(messages, generation, "laser")


def test_an_answer_ends_where_the_task_says() -> None:
    assert until("red\nand blue.", ["\n"]) == "red"
    assert until("red. blue", [" ", "."]) == "red"
    assert [until("red", stops) for stops in (None, [], "\n", [""])] == ["red"] * 4
