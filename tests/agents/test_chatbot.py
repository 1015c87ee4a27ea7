"""Conversations with the chatbot, turn by turn."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.store.sqlite import SqliteStore

from laser_tools.errors import ImageRejected
from laser_tools.images.store import ImageStore
from laser_tools.schema import AnswerRequest, GroundedAnswer
from laser_tools.tools import LaserToolkit
from laser_tools.tools.archive import StoreArchive
from laser_tools.tools.chatbot import ABSTAIN_BELOW, Reply, build_chatbot
from tests.agents.application import chatbot
from tests.tools.fakes import RED_BOX, ColourEngine, scene

QUESTION = "What colour is the rectangle?"
SMALL = "What colour is the small rectangle?"


class Shelf(ColourEngine):
    """Counts `n` of everything, and withholds an answer that is less sure than was asked for."""

    def __init__(self, n: int = 1, confidence: float = 0.9) -> None:
        super().__init__(confidence)
        self.n = n

    def answered_with(self, request: AnswerRequest) -> GroundedAnswer:
        answer = super().answered_with(request)
        if request.question.startswith("How many"):
            words = {"answer": str(self.n), "confidence": 0.9}
            return answer.model_copy(update=words)
        if (answer.confidence or 1.0) < (request.abstain_below or 0.0):
            return answer.model_copy(update={"answer": "not sure", "abstain": "not_sure"})
        return answer


def bot(engine: ColourEngine) -> chatbot.Chatbot:
    toolkit = LaserToolkit(engine=engine, abstain_below=ABSTAIN_BELOW)
    agent = build_chatbot(toolkit, InMemorySaver())
    return chatbot.Chatbot(toolkit, agent)


def test_a_follow_up_is_about_the_picture_attached_before() -> None:
    engine = Shelf()
    talk = bot(engine)
    first = talk.say(SMALL, [scene()])
    assert first.text.startswith("red (confidence 0.90), seen at [600, 100, 640, 150] px of img_1")
    assert first.seen is not None
    assert first.seen.result.evidence[0].box == RED_BOX
    assert first.crops
    assert first.crops[0].size == (200, 100)
    assert talk.say("And what colour is the big rectangle?").text.startswith("red")
    assert engine.answered[-1].question == "And what colour is the big rectangle?"
    assert talk.say(SMALL, [scene(colour="blue")]).text.startswith("blue")


def test_of_two_things_it_asks_which() -> None:
    engine = Shelf(n=2)
    talk = bot(engine)
    assert talk.say(QUESTION, [scene()]).text == "I see two rectangles. Which one do you mean?"
    assert talk.say("The red one, please.").text.startswith("red")
    assert engine.answered[-1].question == "What colour is the red rectangle?"
    assert "two rectangles" in talk.say(QUESTION).text
    assert talk.say("What colour is the small circle?").text.startswith("red"), "another question"


def test_of_one_thing_it_does_not() -> None:
    engine = Shelf(n=1)
    assert bot(engine).say(QUESTION, [scene()]).text.startswith("red")
    assert [r.question for r in engine.answered] == ["How many rectangles are there?", QUESTION]


def test_it_says_that_it_cannot_see() -> None:
    reply = bot(Shelf(confidence=0.2)).say(SMALL, [scene()])
    assert (reply.text, reply.seen) == ("I cannot see that in the image.", None)
    assert reply.withheld == "not_sure"


def test_a_broken_picture_is_refused_and_the_talk_goes_on() -> None:
    talk = bot(Shelf())
    with pytest.raises(ImageRejected):
        talk.say(SMALL, [b"no image"])
    assert talk.say(SMALL).text == "Please give me an image first."
    assert talk.say(SMALL, [scene()]).text.startswith("red")


def test_memory_outlives_the_process(tmp_path: Path) -> None:
    """Another toolkit, which knows no image, over a file closed and opened again."""
    file = str(tmp_path / "chat.db")

    def say(text: str, images: list[bytes], thread_id: str = "a.b") -> Reply:
        with SqliteSaver.from_conn_string(file) as memory, SqliteStore.from_conn_string(file) as s:
            kept = ImageStore(archive=StoreArchive(s))
            toolkit = LaserToolkit(engine=Shelf(), images=kept)
            agent = build_chatbot(toolkit, memory)
            return chatbot.Chatbot(toolkit, agent).say(text, images, thread_id)

    before = say(SMALL, [scene(), scene(colour="blue")])
    assert before.seen is not None
    assert before.text.startswith("blue")
    (crop,) = before.seen.crops
    again = say(f"In {crop}, what colour is the small rectangle?", [])
    assert again.text.startswith("blue")
    assert again.seen is not None
    assert again.seen.image.startswith(crop)
    assert again.seen.result.evidence == before.seen.result.evidence
    assert say("In img_1, what colour is the small rectangle?", []).text.startswith("red")
    assert say(SMALL, [], "another").text == "Please give me an image first."
    start_of_png = base64.b64encode(scene()[:30])
    assert Path(file).read_bytes().count(start_of_png) == 2, "images are kept once"


def test_a_line_names_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"pixels")
    assert chatbot.attached(f"What is  on @{tmp_path}/a.png ?\n") == ("What is on ?", [b"pixels"])
