"""A process of a conversation: `python -m tests.tools.reopened FILE ask|again`, prints JSON.

`ask` attaches two images and asks about both; `again` asks about every handle of the conversation.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite import SqliteSaver

from laser_tools.tools import LaserToolkit
from laser_tools.tools.planner import ScriptedPlanner
from tests.tools.fakes import ColourEngine, scene

CONFIG: RunnableConfig = {"configurable": {"thread_id": "t"}}
COLOURS = ("red", "blue")


def main(file: str, what: str) -> None:
    toolkit = LaserToolkit(engine=ColourEngine())
    with SqliteSaver.from_conn_string(file) as memory:
        agent = create_agent(
            ScriptedPlanner(), toolkit.get_tools(),
            middleware=toolkit.middleware(), checkpointer=memory,
        )  # fmt: skip
        print(json.dumps({"ask": _ask, "again": _again}[what](agent)))  # noqa: T201


def _ask(agent: Any) -> dict[str, str]:  # noqa: ANN401 (a compiled graph)
    for colour in COLOURS:
        data = base64.b64encode(scene(colour=colour)).decode()
        block = {"type": "image", "base64": data, "mime_type": "image/png"}
        agent.invoke({"messages": [HumanMessage(["What colour is it?", block])]}, CONFIG)
    return _handles(agent)


def _again(agent: Any) -> dict[str, str]:  # noqa: ANN401
    return {handle: _colour(agent, handle) for handle in _handles(agent)}


def _colour(agent: Any, handle: str) -> str:  # noqa: ANN401
    question = {"messages": [HumanMessage(f"In {handle}, what colour is it?")]}
    state = agent.invoke(question, CONFIG)
    last = next(m for m in reversed(state["messages"]) if isinstance(m, ToolMessage))
    return str(json.loads(last.text)["answer"])


def _handles(agent: Any) -> dict[str, str]:  # noqa: ANN401
    """Every handle that a tool's artifact names, with the colour that its original has."""
    messages = agent.get_state(CONFIG).values["messages"]
    told = [m.artifact for m in messages if isinstance(m, ToolMessage)]
    named = {handle for found in told for handle in (found["image"], *found["crops"])}
    return {handle: COLOURS[int(handle[4]) - 1] for handle in sorted(named)}


if __name__ == "__main__":
    main(*sys.argv[1:])
