"""Attached images on the wire of four chat APIs, shown and hidden."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from laser_tools.tools import LaserToolkit
from tests.providers.apis import APIS
from tests.providers.server import Planner, serving
from tests.tools.fakes import ColourEngine, scene

pytest.importorskip("langchain_openai")
pytest.importorskip("langchain_anthropic")
pytest.importorskip("langchain_ollama")

pytestmark = [pytest.mark.enable_socket, pytest.mark.allow_hosts(["127.0.0.1"])]

FILE = scene()
DATA = base64.b64encode(FILE).decode()
URL = f"data:image/png;base64,{DATA}"
LANGCHAIN = {"type": "image", "base64": DATA, "mime_type": "image/png"}
OPENAI = {"type": "image_url", "image_url": {"url": URL}}
RESPONSES = {"type": "input_image", "image_url": URL}
SOURCE = {"type": "base64", "media_type": "image/png", "data": DATA}
ANTHROPIC = {"type": "image", "source": SOURCE}
FORMATS = {
    "completions": [LANGCHAIN, OPENAI],
    "responses": [LANGCHAIN, OPENAI, RESPONSES],
    "anthropic": [LANGCHAIN, OPENAI, ANTHROPIC],
    "ollama": [LANGCHAIN, OPENAI],
}
"""What each model's class takes; hidden, any of them may be attached for any."""
EVERY = [LANGCHAIN, OPENAI, RESPONSES, ANTHROPIC]
CONFIG: RunnableConfig = {"configurable": {"thread_id": "t"}}


def chat_model(api: str, url: str) -> BaseChatModel:
    """A real chat model that talks to the local server."""
    from langchain_anthropic import ChatAnthropic
    from langchain_ollama import ChatOllama
    from langchain_openai import ChatOpenAI

    given: dict[str, Any] = {"api_key": "none", "max_retries": 0}
    model: BaseChatModel
    if api == "ollama":
        model = ChatOllama(model="stub", base_url=url)
    elif api == "anthropic":
        model = ChatAnthropic(model="stub", base_url=url, **given)
    else:
        given["use_responses_api"] = api == "responses"
        model = ChatOpenAI(model="gpt-4o", base_url=f"{url}/v1", **given)
    return model


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Planner, str]]:
    planner = Planner()
    with serving(planner) as url:
        yield planner, url


@pytest.fixture
def planner(server: tuple[Planner, str]) -> Planner:
    for kept in (server[0].bodies, server[0].turns, server[0].refusals):
        kept.clear()
    return server[0]


def say(agent: Any, *blocks: object, text: str = "What colour?") -> str:  # noqa: ANN401
    content: Any = [{"type": "text", "text": text}, *blocks]
    state = agent.invoke({"messages": [HumanMessage(content)]}, CONFIG)
    return str(state["messages"][-1].text)


def answer_in(reply: str) -> dict[str, Any]:
    found = json.loads(reply.removeprefix("It says: "))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("crops", ["handle", "auto"])
@pytest.mark.parametrize("mode", ["keep", "hide"])
@pytest.mark.parametrize("api", APIS)
def test_attached_images_are_named_kept_or_hidden(
    api: str,
    mode: Literal["keep", "hide"],
    crops: Literal["handle", "auto"],
    planner: Planner,
    server: tuple[Planner, str],
) -> None:
    """Each format in a turn of its own, then a question about a crop that was cut before."""
    toolkit = LaserToolkit(engine=ColourEngine(), user_images=mode, crops=crops)
    agent = create_agent(
        chat_model(api, server[1]), toolkit.get_tools(), system_prompt="Look.",
        middleware=toolkit.middleware(), checkpointer=InMemorySaver(),
    )  # fmt: skip
    for block in FORMATS[api] if mode == "keep" else EVERY:
        found = answer_in(say(agent, block))
        assert (found["image"], found["answer"]) == ("img_1", "red")
    (crop,) = (cut["image"] for cut in found["crops"])
    assert answer_in(say(agent, text=f"And in {crop}?"))["image"] == crop
    assert planner.refusals == []
    users = [turn for turn in planner.turns[-1] if turn.role == "user" and "What" in turn.text]
    assert all("[image img_1, 800x400]" in turn.text for turn in users)
    shown = [image for turn in users for image in turn.images]
    assert shown == ([FILE] * len(FORMATS[api]) if mode == "keep" else [])
    if mode == "hide":
        assert not any(DATA[:40] in body for body in planner.bodies)


@pytest.mark.parametrize("api", APIS)
def test_a_picture_that_is_rejected_is_a_line_of_text(
    api: str, planner: Planner, server: tuple[Planner, str]
) -> None:
    """Else the API would refuse it too, and that would end the run."""
    toolkit = LaserToolkit(engine=ColourEngine())
    agent = create_agent(
        chat_model(api, server[1]), toolkit.get_tools(), middleware=toolkit.middleware()
    )
    broken = base64.b64encode(b"\x89PNG\r\n\x1a\n broken").decode()
    block = {"type": "image", "base64": broken, "mime_type": "image/png"}
    assert say(agent, block) == "There is no image."
    assert planner.refusals == []
    assert broken not in planner.bodies[0]
    assert "[image rejected: The image could not be decoded." in planner.turns[0][0].text


async def test_asynchronously_as_well(planner: Planner, server: tuple[Planner, str]) -> None:
    toolkit = LaserToolkit(engine=ColourEngine(), user_images="hide")
    agent = create_agent(
        chat_model("completions", server[1]), toolkit.get_tools(),
        middleware=toolkit.middleware(), checkpointer=InMemorySaver(),
    )  # fmt: skip
    content: Any = ["What colour?", LANGCHAIN]
    state = await agent.ainvoke({"messages": [HumanMessage(content)]}, CONFIG)
    assert answer_in(state["messages"][-1].text)["answer"] == "red"
    assert isinstance(json.loads(planner.bodies[0])["messages"][0]["content"], str)
    assert planner.refusals == []
