"""The agents with a planner of `init_chat_model`, over HTTP to a local server of OpenAI's API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver

from laser_tools.errors import Misconfigured
from laser_tools.schema import AnswerRequest, GroundedAnswer
from laser_tools.tools import LaserToolkit
from laser_tools.tools.chat_model import chat_model
from laser_tools.tools.chatbot import ABSTAIN_BELOW, MAX_STEPS, build_chatbot
from tests.agents.application import chatbot as application
from tests.agents.application import checklist, deep_look, inspector
from tests.agents.killed_inspection import CONFIG, IMAGES, given, toolkit
from tests.providers.apis import Reply, Turn
from tests.providers.server import Planner, serving
from tests.tools.fakes import ColourEngine, scene

pytest.importorskip("langchain_openai")

pytestmark = [pytest.mark.enable_socket, pytest.mark.allow_hosts(["127.0.0.1"])]

QUESTION = "What colour is the small rectangle?"


class Stubborn(Planner):
    """Never answers: it asks a tool again, whatever the tool says."""

    def plan(self, turns: Sequence[Turn]) -> Reply:
        args = {"image": "img_1", "question": "Really?"}
        return Reply(call=(f"call_{len(self.bodies)}", "grounded_vqa", args))


@pytest.fixture
def planner(request: pytest.FixtureRequest) -> Iterator[Planner]:
    """The planner at the other end; at the end it has refused nothing, and seen no pixels."""
    planner: Planner = getattr(request, "param", Planner)()
    with serving(planner) as url, pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_BASE_URL", f"{url}/v1")
        environment.setenv("OPENAI_API_KEY", "none")
        yield planner
    assert planner.bodies
    assert planner.refusals == []
    assert not any(turn.images for turns in planner.turns for turn in turns)


def model() -> BaseChatModel:
    return chat_model("openai:gpt-4o")


def roles(planner: Planner) -> list[str]:
    """Who spoke, in the last conversation that the server was sent."""
    return [turn.role for turn in planner.turns[-1]]


def chatbot(engine: ColourEngine, memory: Any) -> application.Chatbot:  # noqa: ANN401
    tools = LaserToolkit(engine=engine, abstain_below=ABSTAIN_BELOW)
    return application.Chatbot(tools, build_chatbot(tools, memory, model()))


def test_a_talk_with_the_chatbot(planner: Planner) -> None:
    talk = chatbot(ColourEngine(), InMemorySaver())
    first = talk.say(QUESTION, [scene()])
    assert first.text.startswith('It says: {"image":"img_1","answer":"red","confidence":0.9,')
    assert first.seen is not None
    assert first.seen.evidence_image().size == (800, 400)
    assert talk.say("And in img_1.c1?").text.startswith('It says: {"image":"img_1.c1"')
    turn = ["user", "assistant", "tool", "assistant"]
    assert roles(planner) == ["system", *turn, "user", "assistant", "tool"]


class Killed(ColourEngine):
    """Ends the process while it answers; `KeyboardInterrupt` stands for that."""

    def answered_with(self, request: AnswerRequest) -> GroundedAnswer:
        raise KeyboardInterrupt


def test_a_talk_goes_on_after_a_kill(planner: Planner, tmp_path: Path) -> None:
    """The call that was never answered must not stay in the conversation."""
    with SqliteSaver.from_conn_string(str(tmp_path / "chat.db")) as memory:
        with pytest.raises(KeyboardInterrupt):
            chatbot(Killed(), memory).say(QUESTION, [scene()])
        again = chatbot(ColourEngine(), memory).say(QUESTION, [scene()])
        assert again.text.startswith('It says: {"image":"img_1","answer":"red"')
    assert roles(planner) == ["system", "user", "user", "assistant", "tool"]


def test_an_inspection(planner: Planner) -> None:
    tools = toolkit(ColourEngine())
    state = inspector.build_inspector(tools, InMemorySaver(), model()).invoke(given(), CONFIG)
    lines = list(state["lines"].values())
    assert [line["final"] for line in lines] == list(IMAGES.values())
    assert {tuple(turn.role for turn in turns) for turns in planner.turns} == {
        ("system", "user"),
        ("system", "user", "assistant", "tool"),
    }
    assert "6 lines: 6 in order" in checklist.page(tools, lines)


async def test_a_deep_look(planner: Planner) -> None:
    tools = LaserToolkit(engine=ColourEngine(confidence=0.95))
    look = await deep_look.look(tools, scene(), QUESTION, model())
    assert look.sure
    assert [deep_look.step(found) for found in look.path] == ["img_1: 'red' (0.95 confidence)"]
    assert roles(planner) == ["system", "user", "assistant", "tool"]


@pytest.mark.parametrize("planner", [Stubborn], indirect=True)
async def test_a_planner_that_never_answers_is_stopped(planner: Planner) -> None:
    """A budget of tool calls alone only tells it so."""
    engine, budget = ColourEngine(), deep_look.Budget(calls=3)
    look = await deep_look.look(LaserToolkit(engine=engine), scene(), QUESTION, model(), budget)
    assert (len(engine.answered), len(planner.bodies)) == (3, 5)
    assert not look.sure
    planner.bodies.clear()
    assert chatbot(ColourEngine(), InMemorySaver()).say(QUESTION, [scene()]).seen is None
    assert len(planner.bodies) == MAX_STEPS
    assert json.loads(planner.bodies[-1])["tools"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("openai:gpt-4o", "OPENAI_API_KEY"), ("nobody:x", "nobody"), ("groq:x", "langchain-groq")],
)
def test_a_model_that_cannot_be_used_is_told_in_words(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(Misconfigured, match=words):
        chat_model(name)
