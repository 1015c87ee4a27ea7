"""The agents that ship, each as the injection bench calls it: a question in, its messages out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult
from langgraph.checkpoint.memory import InMemorySaver

from laser_tools.tools.chatbot import build_chatbot
from laser_tools.tools.langchain import LaserToolkit
from tests.agents.application import build_agent, deep_look, inspector
from tests.hardening import injection


@dataclass(frozen=True)
class Called:
    """An agent that is called by `invoke`."""

    invoke: Callable[[Any, Any], dict[str, Any]]


class Watched(injection.Obedient):
    """An obedient planner that keeps the last conversation it was sent."""

    sent: list[BaseMessage] = []  # noqa: RUF012 - a pydantic field, copied per instance

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        self.sent[:] = messages
        return super()._generate(messages, stop, run_manager, **kwargs)


def build_chat(toolkit: LaserToolkit, planner: BaseChatModel) -> object:
    return build_chatbot(toolkit, InMemorySaver(), planner)


def build_deep_look(toolkit: LaserToolkit, planner: BaseChatModel) -> object:
    agent = deep_look.build_deep_look(toolkit, planner)
    return Called(lambda given, config: asyncio.run(agent.ainvoke(given, config)))


def build_inspector(toolkit: LaserToolkit, planner: BaseChatModel) -> object:
    """Its image is that of the asking thread; its lines have planners, which are asked again."""
    obedient = Watched()
    graph = inspector.build_inspector(toolkit, InMemorySaver(), obedient)

    def invoke(given: Mapping[str, Sequence[Any]], config: Any) -> dict[str, Any]:  # noqa: ANN401
        graph.invoke(_checklist(str(given["messages"][0][1])), config)
        return {"messages": list(obedient.sent)}

    return Called(invoke)


def _checklist(question: str) -> dict[str, Any]:
    check: dict[str, Any] = {"question": question, "images": "*", "choices": [], "expect": None}
    checks = {"checks": [check], "threshold": 0.5}
    return {"checklist": checks, "images": [injection.THREAD], "lines": {}}


AGENTS: dict[str, injection.BuildAgent] = {
    "create_agent": injection.build_agent,
    "zoom_then_ask": build_agent,
    "chatbot": build_chat,
    "inspector": build_inspector,
    "deep_look": build_deep_look,
}
