"""Turns of the demo's chat, without a browser or gradio."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest

from laser_tools.demo import chat_cards
from laser_tools.demo.chatting import MAX_FILES, Chat, Step, Talk, Turn
from laser_tools.errors import ImageRejected, InvalidRequest
from laser_tools.schema import AnswerRequest, GroundedAnswer
from tests.tools.fakes import ColourEngine, scene

QUESTION = "What colour is the small rectangle?"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "scene.png"
    file.write_bytes(scene())
    return file


async def turns(chat: Chat, talk: Talk, text: str, *files: Path) -> list[Turn]:
    images = await chat.take(talk, files)
    return [turn async for turn in chat.say(talk, text, bool(images))]


async def last(chat: Chat, talk: Talk, text: str, *files: Path) -> tuple[Turn, Talk]:
    turn = (await turns(chat, talk, text, *files))[-1]
    assert turn.talk is not None
    return turn, turn.talk


async def test_steps_are_told_as_they_come_and_the_reply_rests_on_the_last(picture: Path) -> None:
    chat = Chat.over(ColourEngine())
    news = await turns(chat, Talk.begun(), QUESTION, picture)
    assert [len(turn.steps) for turn in news] == sorted(len(turn.steps) for turn in news)
    assert news[-1].steps == (
        Step("zoom_to_evidence", "img_1", "small rectangle"),
        Step("grounded_vqa", "img_1.c1", QUESTION),
    )
    assert [turn.reply is None for turn in news] == [True] * (len(news) - 1) + [False]
    reply = news[-1].reply
    assert reply is not None
    assert reply.seen is not None
    assert reply.seen.evidence_image().size == (800, 400)
    shown = chat_cards.replied(news[-1], reply, scripted=True)
    assert "<p class='lt-answer'>red</p>" in shown
    assert "Quite sure" in shown
    assert "90 %" in shown
    assert shown.count("<img") == 2
    assert "2 looks" in shown


async def test_a_follow_up_needs_no_second_upload(picture: Path) -> None:
    engine = ColourEngine()
    chat = Chat.over(engine)
    _, talk = await last(chat, Talk.begun(), QUESTION, picture)
    turn, _ = await last(chat, talk, "And what colour is the big rectangle?")
    assert turn.reply is not None
    assert turn.reply.text.startswith("red")
    assert engine.answered[-1].question == "And what colour is the big rectangle?"


async def test_two_talks_never_see_each_others_images(picture: Path) -> None:
    chat = Chat.over(ColourEngine())
    mine, yours = Talk.begun(), Talk.begun()
    await last(chat, mine, QUESTION, picture)
    for question in (QUESTION, f"In img_1, {QUESTION}"):
        turn, _ = await last(chat, yours, question)
        assert turn.reply is not None
        assert turn.reply.seen is None
        assert "red" not in turn.reply.text
    chat.forget(mine)
    assert chat.toolkit.images.sizes(mine.thread_id) == {}


async def test_a_turn_that_is_left_was_never_said(picture: Path) -> None:
    engine = ColourEngine()
    chat, talk = Chat.over(engine), Talk.begun()
    images = await chat.take(talk, [picture])
    async with aclosing(chat.say(talk, QUESTION, bool(images))) as news:
        await anext(news)
    assert engine.answered == []
    turn, after = await last(chat, talk, "Hello?", picture)
    assert turn.reply is not None
    assert [m.type for m in after.messages][:1] == ["human"]
    assert QUESTION not in str(after.messages)


class Unsure(ColourEngine):
    def answered_with(self, request: AnswerRequest) -> GroundedAnswer:
        withheld = {"answer": "not sure", "abstain": "not_sure"}
        return super().answered_with(request).model_copy(update=withheld)


async def test_no_answer_is_said_plainly(picture: Path) -> None:
    turn, _ = await last(Chat.over(Unsure()), Talk.begun(), QUESTION, picture)
    assert turn.reply is not None
    shown = chat_cards.replied(turn, turn.reply, scripted=True)
    assert "I cannot see that." in shown
    assert "nobody is sure enough" in shown
    assert "<img" not in shown


async def test_what_cannot_be_taken_is_refused(picture: Path, tmp_path: Path) -> None:
    (broken := tmp_path / "broken.png").write_bytes(b"no image")
    chat, talk = Chat.over(ColourEngine()), Talk.begun()
    with pytest.raises(ImageRejected):
        await chat.take(talk, [picture, broken])
    assert chat.toolkit.images.sizes(talk.thread_id) == {}
    with pytest.raises(InvalidRequest, match="pictures"):
        await chat.take(talk, [picture] * (MAX_FILES + 1))
    with pytest.raises(InvalidRequest, match="characters"):
        await turns(chat, talk, "x" * 2001)


async def test_words_are_text(picture: Path) -> None:
    chat = Chat.over(ColourEngine())
    turn = Turn((Step("<i>", "<b>", "<u>"),))
    assert "<u>" not in chat_cards.looking(turn)
    images = await chat.take(Talk.begun(), [picture])
    assert "&lt;i&gt;" in chat_cards.asked("<i>", images)
