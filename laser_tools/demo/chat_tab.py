"""The tab that talks about pictures: what a person writes and attaches, and what is replied."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from laser_tools.demo import chat_cards
from laser_tools.demo.ask_tab import EXAMPLE_QUESTION
from laser_tools.demo.cards import problem
from laser_tools.demo.chatting import Chat, Talk, Turn
from laser_tools.demo.forms import QUIET, Changes, as_shown, uploaded
from laser_tools.errors import LaserError
from laser_tools.pico import SCENE

FAILED = "That went wrong: the terminal in which this page was started says how."
EMPTY = """<div class='lt-empty-chat'><h2>Talk about pictures</h2>
<p>Attach one with your question; then ask on about it, or attach another. Name an earlier one by
its handle: <i>In img_1, what number is on the red star?</i></p><p class='lt-note'>{}</p></div>"""
LOOKS = "Pictures are looked at by {}."
PLANS = " {} plans: it is sent your words and what was seen, no pictures."

Message = dict[str, str]  # role and content, as gradio's Chatbot takes them
Written = Mapping[str, Any]  # text and files, as gradio's MultimodalTextbox gives them


@dataclass(frozen=True)
class Session:
    """A browser's conversation, what is shown of it, and what is being answered, if anything."""

    talk: Talk
    shown: tuple[Message, ...] = ()
    sent: Written | None = None


@dataclass(frozen=True)
class Parts:
    """The components of the tab."""

    session: gr.State
    log: gr.Chatbot
    box: gr.MultimodalTextbox
    example: gr.Button
    anew: gr.Button

    def all(self) -> list[gr.blocks.Block]:
        return list(vars(self).values())


def build(chat: Chat, source: str, planner: str | None) -> None:
    """Put the chat into the page that is being made; `planner` names the chat model, if any."""
    with gr.Column(elem_id="chat"):
        parts = _parts(chat, _who_sees_what(source, planner))
    told = {"outputs": parts.all(), "preprocess": False, "trigger_mode": "once", **QUIET}
    asking = Asking(chat, parts, scripted=planner is None)
    asked = parts.box.submit(asking.written, [parts.session, parts.box], **told)
    example = parts.example.click(asking.example, [parts.session], **told)
    for event in (asked, example):
        event.failure(asking.failed, [parts.session], parts.all(), queue=False, **QUIET)
    stopped = parts.box.stop(None, cancels=[asked, example])
    stopped.then(asking.cancelled, [parts.session], parts.all(), queue=False, **QUIET)
    parts.anew.click(
        asking.begun_anew, [parts.session], parts.all(), queue=False, cancels=[asked, example],
        **QUIET,
    )  # fmt: skip


def _who_sees_what(source: str, planner: str | None) -> str:
    plans = "" if planner is None else PLANS.format(escape(planner))
    return LOOKS.format(escape(source)) + plans


def _parts(chat: Chat, trust: str) -> Parts:
    session = gr.State(delete_callback=lambda left: _forget(chat, left))
    log = gr.Chatbot(
        elem_id="log", show_label=False, height=560, buttons=[], placeholder=EMPTY.format(trust),
        render_markdown=False, latex_delimiters=[], layout="bubble",
        group_consecutive_messages=False,
    )  # fmt: skip
    box = gr.MultimodalTextbox(
        elem_id="box", show_label=False, file_types=["image"], file_count="multiple",
        sources=["upload"], placeholder="Attach a picture and ask about it", max_lines=6,
    )  # fmt: skip
    with gr.Row(elem_classes="lt-buttons"):
        example = gr.Button("Example", size="sm", elem_id="chat-example", min_width=90)
        anew = gr.Button("New conversation", size="sm", elem_id="anew", min_width=90)
    return Parts(session, log, box, example, anew)


def _forget(chat: Chat, session: Session | None) -> None:
    if session is not None:
        chat.forget(session.talk)


@dataclass(frozen=True)
class Asking:
    """The functions that gradio calls, with the form's values as the browser sent them."""

    chat: Chat
    parts: Parts
    scripted: bool

    async def written(self, session: Session | None, written: Written) -> AsyncGenerator[Changes]:
        """Answer what a person wrote and attached."""
        session = session or Session(Talk.begun())
        try:
            files = [uploaded(file["path"]) for file in written["files"]]
            async with aclosing(self._turn(session, written, files)) as news:
                async for changes in news:
                    yield changes
        except LaserError as error:
            yield self._refused(session, written, error.public_text)
            raise as_shown(error) from None

    async def example(self, session: Session | None) -> AsyncGenerator[Changes]:
        """Ask about the shipped picture."""
        session = session or Session(Talk.begun())
        written = {"text": EXAMPLE_QUESTION, "files": []}
        async with aclosing(self._turn(session, written, [SCENE])) as news:
            async for changes in news:
                yield changes

    async def _turn(
        self, before: Session, written: Written, files: Sequence[Path]
    ) -> AsyncGenerator[Changes]:
        """Changes of the page, from the message to the reply."""
        text = written["text"] or ""
        images = await self.chat.take(before.talk, files)
        said = _message("user", await asyncio.to_thread(chat_cards.asked, text, images))
        now = replace(before, sent=written)
        yield self._changes(now, [*before.shown, said, _looking(Turn())], {"text": "", "files": []})
        async with aclosing(self.chat.say(before.talk, text, bool(images))) as turns:
            async for turn in turns:
                if turn.reply is None or turn.talk is None:
                    yield {self.parts.log: [*before.shown, said, _looking(turn)]}
                    continue
                card = await asyncio.to_thread(chat_cards.replied, turn, turn.reply, self.scripted)
                shown = (*before.shown, said, _message("assistant", card))
                yield self._changes(Session(turn.talk, shown), shown)

    def _refused(self, before: Session, written: Written, why: str) -> Changes:
        """The words come back, to be sent again with another picture."""
        told = _message("assistant", problem(why))
        again: Written = {"text": written["text"] or "", "files": []}
        return self._changes(replace(before, sent=None), [*before.shown, told], again)

    def cancelled(self, session: Session | None) -> Changes:
        """All as it was before the message, which is in the box again."""
        if session is None or session.sent is None:
            return {self.parts.session: session}
        return self._changes(replace(session, sent=None), session.shown, session.sent)

    def failed(self, session: Session | None) -> Changes:
        """The same, with a word about it; a failure that was expected has been told already."""
        if session is None or session.sent is None:
            return {self.parts.session: session}
        told = _message("assistant", problem(FAILED))
        return self._changes(replace(session, sent=None), [*session.shown, told], session.sent)

    def begun_anew(self, session: Session | None) -> Changes:
        """An empty page; the images are forgotten."""
        _forget(self.chat, session)
        return self._changes(Session(Talk.begun()), ())

    def _changes(
        self, session: Session, shown: Sequence[Message], box: Written | None = None
    ) -> Changes:
        """The tab at rest, or at work while something that was sent is not answered."""
        parts, at_work = self.parts, session.sent is not None
        value = {} if box is None else {"value": dict(box)}
        return {
            parts.session: session,
            parts.log: list(shown),
            parts.box: gr.update(submit_btn=not at_work, stop_btn=at_work, **value),
            parts.example: gr.update(interactive=not at_work),
        }


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _looking(turn: Turn) -> Message:
    return _message("assistant", chat_cards.looking(turn))
