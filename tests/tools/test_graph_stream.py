"""Progress of a tool in the stream of the LangGraph agent that calls it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from langchain.agents import create_agent

from laser_tools.client import WorkerClient
from laser_tools.engine.base import Engine
from laser_tools.engine.queued import QueuedEngine
from laser_tools.progress import StageEvent, TokenEvent
from laser_tools.schema import AnswerRequest, GroundedAnswer
from laser_tools.tools import LaserToolkit
from laser_tools.tools.planner import ScriptedPlanner
from tests.tools.fakes import ColourEngine, scene
from tests.worker.harness import ALICE
from tests.worker.loopback import loopback

TOLD = [
    {"stage": "image"},
    {"stage": "model"},
    {"stage": "decode"},
    {"token": "re", "start": 0},
    {"token": "d", "start": 2},
    {"stage": "done"},
]


class SpellingEngine(ColourEngine):
    """Tells its answer in two pieces."""

    def answered_with(self, request: AnswerRequest) -> GroundedAnswer:
        answered = super().answered_with(request)
        if request.listener is not None:
            request.listener(StageEvent(stage="decode"))
            request.listener(TokenEvent(token=answered.answer[:2], start=0))
            request.listener(TokenEvent(token=answered.answer[2:], start=2))
        return answered


@contextmanager
def at_a_worker() -> Iterator[Engine]:
    with loopback(SpellingEngine()) as worker, WorkerClient(worker.url, ALICE) as client:
        yield client


@contextmanager
def in_this_thread() -> Iterator[Engine]:
    yield SpellingEngine()


@contextmanager
def in_a_queue() -> Iterator[Engine]:
    with QueuedEngine(SpellingEngine()) as queue:
        yield queue


def agent_over(engine: Engine) -> tuple[Any, dict[str, Any]]:
    """An agent, and what it is asked."""
    toolkit = LaserToolkit(engine=engine)
    handle = toolkit.add_image(scene())
    asked = {"messages": [("user", f"What colour is it?\nThe image is {handle}.")]}
    return create_agent(ScriptedPlanner(), toolkit.get_tools()), asked


def about_the_answer(stream: list[dict[str, Any]]) -> list[dict[str, Any]]:
    told = [event for event in stream if event["tool"] == "grounded_vqa"]
    assert all(event["image"].startswith("img_1.c") for event in told)  # it has zoomed before
    return [{k: v for k, v in event.items() if k not in ("tool", "image")} for event in told]


@pytest.mark.enable_socket
@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize("running", [in_this_thread, in_a_queue, at_a_worker])
async def test_an_agents_stream_has_stages_and_tokens(running: Any) -> None:  # noqa: ANN401
    with running() as engine:
        agent, asked = agent_over(engine)
        stream = [event async for event in agent.astream(asked, stream_mode="custom")]
        assert about_the_answer(stream) == TOLD
        assert about_the_answer(list(agent.stream(asked, stream_mode="custom"))) == TOLD


def test_without_a_graph_nobody_listens() -> None:
    """LangGraph is imported, but calls no tool."""
    engine = SpellingEngine()
    toolkit = LaserToolkit(engine=engine)
    question = {"image": toolkit.add_image(scene()), "question": "Colour?"}
    assert toolkit.get_tools()[0].invoke(question)
    assert [request.listener for request in engine.answered] == [None]
