"""A conversation about pictures, turn by turn, with news while the agent looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph

from laser_tools.demo.asking import opened
from laser_tools.engine.base import Engine
from laser_tools.errors import InvalidRequest
from laser_tools.images.upright import UprightImage
from laser_tools.schema import MAX_QUESTION_CHARS
from laser_tools.tools.chatbot import ABSTAIN_BELOW, Reply, build_chatbot, reply_in
from laser_tools.tools.langchain import LaserToolkit

MAX_FILES = 8  # of one message


@dataclass(frozen=True)
class Planner:
    """A chat model that plans, and the name by which a person chose it."""

    name: str
    model: BaseChatModel


@dataclass(frozen=True)
class Talk:
    """A conversation so far. A turn that is cancelled or fails leaves it as it was."""

    thread_id: str
    messages: tuple[BaseMessage, ...] = ()

    @classmethod
    def begun(cls) -> Talk:
        """One whose images no other can name."""
        return cls(uuid4().hex)


@dataclass(frozen=True)
class Step:
    """A call of a tool: which, of what image, and what it was asked."""

    tool: str
    image: str
    about: str


@dataclass(frozen=True)
class Turn:
    """A turn as far as it has come; at its end with the reply, and the conversation after it."""

    steps: tuple[Step, ...] = ()
    seconds: float = 0.0
    reply: Reply | None = None
    talk: Talk | None = None


@dataclass(frozen=True)
class Chat:
    """The chatbot over an engine. It keeps images by thread, and no word of a conversation."""

    toolkit: LaserToolkit
    agent: CompiledStateGraph[Any, Any, Any, Any]

    @classmethod
    def over(cls, engine: Engine, planner: Planner | None = None) -> Chat:
        toolkit = LaserToolkit(engine=engine, abstain_below=ABSTAIN_BELOW)
        return cls(toolkit, build_chatbot(toolkit, planner=planner.model if planner else None))

    async def take(self, talk: Talk, files: Sequence[Path]) -> dict[str, UprightImage]:
        """Give the conversation image files; each by its handle.

        Raises:
            InvalidRequest: these are too many at once.
            ImageRejected: a file is no image that we accept; then none is taken.
        """
        if len(files) > MAX_FILES:
            raise InvalidRequest(f"At most {MAX_FILES} pictures go with one message.")
        images = [await opened(file) for file in files]
        return {self.toolkit.add_image(i, thread_id=talk.thread_id): i for i in images}

    async def say(self, talk: Talk, text: str, with_images: bool) -> AsyncGenerator[Turn]:
        """Say something, and get news after each step; the last turn has the reply.

        Whoever closes the iterator or cancels its task stops the model.

        Raises:
            InvalidRequest: the text is too long.
        """
        if len(text) > MAX_QUESTION_CHARS:
            raise InvalidRequest(f"At most {MAX_QUESTION_CHARS} characters go with one message.")
        told = f"{text}\n{self.toolkit.announce(talk.thread_id)}" if with_images else text
        said: list[BaseMessage] = [*talk.messages, HumanMessage(told)]
        started, before = monotonic(), len(said)
        async with aclosing(self._states(talk, said)) as states:
            async for said in states:
                yield Turn(steps_in(said[before:]), monotonic() - started)
        reply = await asyncio.to_thread(reply_in, said, self.toolkit, talk.thread_id)
        after = Talk(talk.thread_id, tuple(said))
        yield Turn(steps_in(said[before:]), monotonic() - started, reply, after)

    async def _states(
        self, talk: Talk, messages: list[BaseMessage]
    ) -> AsyncGenerator[list[BaseMessage]]:
        """All messages, after each step of the agent."""
        config: RunnableConfig = {"configurable": {"thread_id": talk.thread_id}}
        given: Any = {"messages": messages}
        async for state in self.agent.astream(given, config, stream_mode="values"):
            yield state["messages"]

    def forget(self, talk: Talk) -> None:
        """Drop a conversation's images."""
        self.toolkit.images.forget(talk.thread_id)


def steps_in(messages: Sequence[BaseMessage]) -> tuple[Step, ...]:
    """The calls of tools, in order; a chat model may name and ask anything."""
    calls = [call for m in messages if isinstance(m, AIMessage) for call in m.tool_calls]
    return tuple(
        Step(
            call["name"],
            str(call["args"].get("image", "")),
            str(call["args"].get("what") or call["args"].get("question", "")),
        )
        for call in calls
    )
