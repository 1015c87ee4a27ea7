"""The scripted planner's reading of the question, the thing to look for and the image."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from laser_tools.tools.planner import ScriptedPlanner, question_in, thing_asked_for

Q = "What number is on the yellow square?"
LISTED = "Images in this conversation (use these handles): img_1 (672x896)"
SHAPES = (
    "{q}",
    "{q} The image is img_1.",
    "{q} The image is img_1. {listed}",
    "{q}\nThe image is img_1.\n{listed}",
    "{q}\r\n\r\n  {listed}, img_1.c1 (30x20) and 3 older.  ",
    "{q} {listed}",
    "{listed} {q}",
    "{listed}. {q}",
    "{listed}\n{q}",
    "The image is img_1. {q} {listed}",
    "The image is img_1 {q}",
    "What number (the image is img_1) is on the yellow square?",
    "What number, the image is img_1, is on the yellow square?",
    "What number is\non the yellow square?\nThe image is img_1.",
    "{q} (img_1)",
    "{q} [img_1]",
    "img_1: {q}",
    "img_1\n{q}",
    "Given `img_1` - {q}",
    "{q} Look at img_1.",
    "Image: img_1\nQuestion: {q}",
    "USER: {q} IMAGE: img_1",
    "<image>img_1</image> {q}",
    "<image>\n{q}",
    "Hello! I have a picture, img_1. Can you help me? {q} Thank you very much!",
    "Hi, I took this picture on holiday.\n\n{q}\n\nHere is the photo: img_1 (672x896)",
    "{q}[image img_1, 672x896]",
    "[image img_1, 672x896]{q}",
    "{q}\n[image rejected: The image could not be decoded. Send another.]\n[image img_1, 672x896]",
    "You are a careful assistant. {q} Use the tools. The image is img_1.",
)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_question_is_what_the_user_asked(shape: str) -> None:
    assert question_in(shape.format(q=Q, listed=LISTED)) == Q


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        ("In img_1, how many shapes are there?", "how many shapes are there?"),
        ("What is in img_1?", "What is in the image?"),
        ("How many shapes does the image img_1.c1 show?", "How many shapes does the image show?"),
        ("Tell me the number in img_1.", "Tell me the number in the image."),
        ("count the stars\nimg_1", "count the stars"),
        ("Look at the sign. What is on it? See img_1.", "Look at the sign. What is on it?"),
        ("Is there a star? Is there a circle? img_1", "Is there a star? Is there a circle?"),
        ("Is this a photo? The image is img_1.", "Is this a photo?"),
        ("Which label is 3.5 cm wide? img_1", "Which label is 3.5 cm wide?"),
        ("The image is img_1.", ""),
        ("", ""),
    ],
)
def test_nothing_that_belongs_to_the_question_is_lost(prompt: str, question: str) -> None:
    assert question_in(prompt) == question


@pytest.mark.parametrize(
    ("question", "thing"),
    [
        ("What number is on the red triangle?", "red triangle"),
        ("Is there a blue circle?", "blue circle"),
        ("Is there a blue circle in the image?", "blue circle"),
        ("What is left of the sign in the image?", "sign"),
        ("How many?", "How many"),
    ],
)
def test_the_thing_to_look_for(question: str, thing: str) -> None:
    assert thing_asked_for(question) == thing


@pytest.mark.parametrize(
    ("messages", "handle"),
    [
        ([HumanMessage(f"{Q} The image is img_1.")], "img_1"),
        ([HumanMessage(f"{LISTED}, img_2 (64x48), img_2.c1 (9x9)\n{Q}")], "img_2"),
        ([HumanMessage(f"{LISTED}, img_2 (64x48)\nThe image is img_1. {Q}")], "img_1"),
        ([HumanMessage(f"{Q}[image img_1, 9x9][image img_2, 9x9]")], "img_2"),
        ([HumanMessage("And in img_1? [image img_2, 9x9]")], "img_1"),
        ([HumanMessage("Here are img_1 and img_2. What colour is the car in img_2?")], "img_2"),
        ([SystemMessage(LISTED), HumanMessage(Q)], "img_1"),
        ([HumanMessage(LISTED), HumanMessage(f"{Q} {LISTED}, img_2 (64x48)")], "img_2"),
        ([HumanMessage("See img_1."), HumanMessage(f"{Q} {LISTED}, img_2 (64x48)")], "img_2"),
        ([HumanMessage("See img_3."), AIMessage("Yes."), HumanMessage(Q)], "img_3"),
    ],
)
def test_the_image_that_is_meant(messages: list[BaseMessage], handle: str) -> None:
    [call] = ScriptedPlanner().next_step(messages).tool_calls
    assert call["args"]["image"] == handle


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([], "Please ask me a question"),
        ([SystemMessage(LISTED)], "Please ask me a question"),
        ([HumanMessage(Q)], "Please give me an image"),
        ([HumanMessage("The image is img_1.")], "What do you want to know about img_1?"),
    ],
)
def test_what_is_missing_is_asked_for(messages: list[BaseMessage], text: str) -> None:
    reply = ScriptedPlanner().next_step(messages)
    assert not reply.tool_calls
    assert reply.text.startswith(text)
