"""Attached images: every format, what is told of each, and handles in branches and histories."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.state import CompiledStateGraph
from PIL import Image

from laser_tools.images.decode import held_bytes
from laser_tools.images.store import ImageStore
from laser_tools.schema import Box
from laser_tools.tools import LaserToolkit
from laser_tools.tools.middleware.history import NOTES
from laser_tools.tools.planner import ScriptedPlanner
from tests.tools.fakes import ColourEngine, scene

ROOT = Path(__file__).parents[2]
Agent = CompiledStateGraph[Any, Any, Any, Any]
QUESTION = "What colour is the rectangle?"
RED, BLUE, GREEN = (scene(colour=colour) for colour in ("red", "blue", "green"))


class Watched(ScriptedPlanner):
    """The scripted planner, and the messages it was sent."""

    seen: list[list[BaseMessage]] = []  # noqa: RUF012 (pydantic copies it)

    def next_step(self, messages: Any) -> AIMessage:  # noqa: ANN401
        self.seen.append(list(messages))
        return super().next_step(messages)

    def last_human(self) -> BaseMessage:
        return next(m for m in reversed(self.seen[-1]) if m.type == "human")


def text64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def block(data: bytes) -> dict[str, Any]:
    return {"type": "image", "base64": text64(data), "mime_type": "image/png"}


def agent_over(
    toolkit: LaserToolkit,
    planner: BaseChatModel | None = None,
    memory: Any = None,  # noqa: ANN401 (a saver, or none)
    tools: tuple[BaseTool, ...] = (),
) -> Agent:
    return create_agent(
        planner or ScriptedPlanner(), [*toolkit.get_tools(), *tools],
        middleware=toolkit.middleware(), checkpointer=memory,
    )  # fmt: skip


def kept(images: ImageStore | None = None, **settings: Any) -> LaserToolkit:  # noqa: ANN401
    return LaserToolkit(engine=ColourEngine(), images=images or ImageStore(), **settings)


def thread(name: str = "t") -> RunnableConfig:
    return {"configurable": {"thread_id": name}}


def say(agent: Agent, *content: object, config: RunnableConfig | None = None) -> str:
    said: Any = [{"type": "text", "text": c} if isinstance(c, str) else c for c in content]
    state = agent.invoke({"messages": [HumanMessage(said)]}, config or thread())
    return str(state["messages"][-1].text)


def last_error(agent: Agent) -> str:
    """What a tool said that failed, newest; the scripted planner goes on with another image."""
    messages = agent.get_state(thread()).values["messages"]
    failed = [m for m in messages if isinstance(m, ToolMessage) and m.status == "error"]
    return str(failed[-1].text) if failed else ""


URL = f"data:image/png;base64,{text64(RED)}"
MEDIA = {"mime_type": "image/png", "data": text64(RED)}
FORMATS = {
    "langchain": block(RED),
    "langchain data url": {"type": "image", "url": URL},
    "langchain v0": {"type": "image", "source_type": "base64", **MEDIA},
    "langchain file": {"type": "file", "base64": text64(RED), "mime_type": "image/png"},
    "openai": {"type": "image_url", "image_url": {"url": URL, "detail": "high"}},
    "openai bare": {"type": "image_url", "image_url": URL},
    "responses": {"type": "input_image", "image_url": URL, "detail": "auto"},
    "anthropic": {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": text64(RED)},
    },
    "google": {"type": "media", **MEDIA},
    "google bytes": {"type": "media", "mime_type": "image/png", "data": RED},
    "broken into lines": {**block(RED), "base64": base64.encodebytes(RED).decode()},
    "upper case": {"type": "image_url", "image_url": URL.replace("data:image", "DATA:IMAGE")},
}


@pytest.mark.parametrize("mode", ["keep", "hide"])
@pytest.mark.parametrize("form", FORMATS)
def test_an_image_of_any_format_gets_a_handle(form: str, mode: Literal["keep", "hide"]) -> None:
    planner = Watched()
    toolkit = kept(user_images=mode)
    assert say(agent_over(toolkit, planner), QUESTION, FORMATS[form]).startswith("red")
    content = planner.last_human().content
    if mode == "hide":
        assert content == f"{QUESTION}\n[image img_1, 800x400]"
    else:
        told = {"type": "text", "text": "[image img_1, 800x400]"}
        assert content[:2] == [{"type": "text", "text": QUESTION}, told]
        # LangChain itself rewrites its oldest blocks for every model
        assert content[2:] == [block(RED) if form == "langchain v0" else FORMATS[form]]
    assert toolkit.images.describe("t").startswith("img_1 (800x400), img_1.c1")


def test_an_image_given_again_in_any_form_is_the_same() -> None:
    planner = Watched()
    toolkit = kept(user_images="hide")
    toolkit.add_image(RED, thread_id="t")
    bitmap = io.BytesIO()
    Image.open(io.BytesIO(RED)).save(bitmap, "WEBP", lossless=True)
    say(agent_over(toolkit, planner), QUESTION, *FORMATS.values(), block(bitmap.getvalue()))
    assert planner.last_human().text.count("[image img_1, 800x400]") == len(FORMATS) + 1
    assert list(toolkit.images.originals("t")) == ["img_1"]


REFERENCES = [
    {"type": "image", "url": "https://example.com/a.png"},
    {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}},
    {"type": "image_url", "image_url": "file:///etc/passwd"},
    {"type": "input_image", "image_url": "ftp://example.com/a.png"},
    {"type": "input_image", "file_id": "file-1"},
    {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
    {"type": "image", "file_id": "7"},
    {"type": "media", "mime_type": "image/png", "file_uri": "gs://bucket/a.png"},
]
REJECTED = {
    "decoded": block(b"\x89PNG\r\n\x1a\n broken"),
    "28 to 16384 px": block(scene(size=(20, 20))),
    "not base64": {"type": "image", "base64": "no base64!"},
    "is not base64": {"type": "image_url", "image_url": "data:image/svg+xml,<svg/>"},
    "without data": {"type": "image"},
    "came without": {"type": "image_url", "image_url": {}},
    "data. Attach": {"type": "image", "source": 7, "base64": None},
    "12 MiB": {"type": "image", "base64": "A" * 50 * 2**20},
}


@pytest.mark.parametrize("reference", REFERENCES, ids=json.dumps)
def test_an_address_is_not_opened(reference: dict[str, Any]) -> None:
    """Sockets are off in this test; a planner that is to see pictures still gets the address."""
    seen = []
    for mode in ("keep", "hide"):
        planner = Watched()
        agent = agent_over(kept(user_images=mode), planner)
        assert say(agent, QUESTION, reference) == "Please give me an image first."
        seen.append(planner.last_human().content)
    reason = "[image rejected: URLs and file ids are not opened. Attach the image itself.]"
    assert seen[0][1:] == [{"type": "text", "text": reason}, reference]
    assert seen[1] == f"{QUESTION}\n{reason}"


@pytest.mark.parametrize("why", REJECTED)
def test_a_rejected_image_is_a_line_that_says_why(why: str) -> None:
    planner = Watched()
    agent = agent_over(kept(), planner)
    assert say(agent, QUESTION, REJECTED[why], block(BLUE)).startswith("blue")
    told = planner.last_human().content
    assert isinstance(told, list)
    assert REJECTED[why] not in told
    assert "[image rejected: " in str(told[1])
    assert why in str(told[1])


OTHERS: list[Any] = [
    "a string", {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}, {},
    {"type": "audio", "base64": "AAAA"}, {"type": "media", "mime_type": "audio/wav", "data": "A"},
    {"type": "file", "base64": "AAAA", "mime_type": "application/pdf"},
]  # fmt: skip


@pytest.mark.parametrize("mode", ["keep", "hide"])
def test_what_is_no_attached_image_is_left_alone(mode: Literal["keep", "hide"]) -> None:
    """Images of systems, tools and models are not the user's; nor are other blocks images."""
    toolkit, planner = kept(user_images=mode), Watched()
    call = {"name": "look", "args": {}, "id": "1", "type": "tool_call"}
    messages: list[AnyMessage] = [
        SystemMessage([block(RED)]),
        HumanMessage("A question."),
        AIMessage("", tool_calls=[call]),
        ToolMessage([block(BLUE)], tool_call_id="1", name="look"),
        AIMessage([block(GREEN)]),
        HumanMessage(OTHERS),
    ]

    @tool
    def look() -> str:
        """Look."""
        return ""

    agent_over(toolkit, planner, tools=(look,)).invoke({"messages": messages}, thread())
    assert [m.content for m in planner.seen[0]] == [m.content for m in messages]
    assert toolkit.images.describe("t") == "none"


def test_two_hundred_images_in_a_message_beyond_what_memory_holds() -> None:
    """Each can be asked about: those that were let go come back from the message."""
    files = [scene(size=(60 + n, 40), box=_small(n)) for n in range(200)]
    held = held_bytes(Image.new("RGB", (200, 40)))
    toolkit, planner = kept(ImageStore(max_bytes=10 * held), user_images="hide"), Watched()
    agent = agent_over(toolkit, planner, InMemorySaver())
    assert say(agent, QUESTION, *map(block, files)).startswith("red")
    told = planner.last_human().text
    assert all(f"[image img_{n + 1}, {60 + n}x40]" in told for n in range(200))
    assert len(toolkit.images.sizes("t")) < 50
    for n in (1, 200):
        assert say(agent, f"In img_{n}, what colour is the rectangle?").endswith(f"px of img_{n}")


def _small(n: int) -> Box:
    return Box(x0=5 + n // 4, y0=5, x1=15 + n // 4, y1=15)


def test_two_threads_never_see_each_others_images() -> None:
    toolkit, memory = kept(), InMemorySaver()
    agent = agent_over(toolkit, memory=memory)
    assert say(agent, QUESTION, block(RED), config=thread("a")).startswith("red")
    assert say(agent, QUESTION, config=thread("b")) == "Please give me an image first."
    other = say(agent, "In img_1.c1, what colour is it?", config=thread("b"))
    assert "Unknown image 'img_1.c1'. Known: none." in other
    assert say(agent, QUESTION, block(BLUE), config=thread("b")).startswith("blue")
    assert say(agent, f"{QUESTION} It is img_1.", config=thread("a")).startswith("red")


def test_images_added_without_a_thread_are_missed_in_words() -> None:
    toolkit = kept()
    toolkit.add_image(RED)
    said = say(agent_over(toolkit), f"{QUESTION}\n{toolkit.announce()}")
    assert "added without a thread_id, and this conversation has one" in said
    assert "give add_image the same thread_id" in said


def test_a_restart_brings_originals_and_crops_back_from_the_history() -> None:
    memory = InMemorySaver()
    first = agent_over(kept(), memory=memory)
    assert say(first, QUESTION, block(RED), block(BLUE)).startswith("blue")
    crop = "img_2.c1"
    again = kept()
    assert say(agent_over(again, memory=memory), f"In {crop}, what colour is it?").startswith(
        "blue"
    )
    assert again.images.get(crop, "t").place.box.as_tuple() == (400, 25, 800, 225)
    assert say(agent_over(kept(), memory=memory), "In img_1, what colour?").startswith("red")


def test_a_handle_keeps_its_number_when_messages_are_trimmed() -> None:
    """Without its pixels `img_1` is unknown, and no later image takes its name."""
    memory = InMemorySaver()
    agent = agent_over(kept(), memory=memory)
    say(agent, QUESTION, block(RED))
    say(agent, QUESTION, block(BLUE))
    first = agent.get_state(thread()).values["messages"][0]
    agent.update_state(thread(), {"messages": [RemoveMessage(first.id)]})
    toolkit = kept()
    later = agent_over(toolkit, memory=memory)
    assert say(later, "In img_2, what colour is it?").startswith("blue")
    say(later, "In img_1, what colour is it?")
    assert "Unknown image 'img_1'. Known: img_2" in last_error(later)
    say(later, QUESTION, block(GREEN))
    assert list(toolkit.images.originals("t")) == ["img_1", "img_2", "img_3"]


def test_branches_of_a_thread_keep_their_own_meaning_of_a_handle() -> None:
    """`img_2` is another image in each; both are found after a restart, one after the other."""
    memory = InMemorySaver()
    say(agent_over(kept(), memory=memory), QUESTION, block(RED))
    fork = agent_over(kept(), memory=memory).get_state(thread()).config
    ends = {}
    for colour, file in (("blue", BLUE), ("green", GREEN)):
        agent = agent_over(kept(), memory=memory)  # as if each branch ran elsewhere
        assert say(agent, QUESTION, block(file), config=fork).startswith(colour)
        ends[colour] = agent.get_state(thread()).config
    toolkit = kept()
    agent = agent_over(toolkit, memory=memory)
    for colour in ("blue", "green", "blue"):
        said = say(agent, "In img_2.c1, what colour is it?", config=ends[colour])
        assert said.startswith(colour), said
    assert say(agent, "In img_1, what colour is it?", config=ends["green"]).startswith("red")


NOTE = {"sha256": "x", "size": [8, 8], "files": [sha256(text64(RED).encode()).hexdigest()]}
DAMAGED_NOTES: list[Any] = [
    *(7, [], "x", {"img_1": 7}, {"img_1": {"sha256": 1, "size": [0, 0]}}),
    *({handle: NOTE} for handle in ("a/../b", "img_1.c1", "img_1234567")),
]
CUT: dict[str, Any] = {
    "image_size": [800, 400],
    "crops": ["img_1.c1"],
    "crop_boxes": [{"x0": 0, "y0": 0, "x1": 4, "y1": 4}],
}
DAMAGED_ARTIFACTS: list[Any] = [
    "x",
    {"crops": 7},
    {**CUT, "crop_boxes": [7]},
    {**CUT, "crop_boxes": [{"x0": 0, "y0": 0, "x1": 900, "y1": 4}]},
    {**CUT, "image_size": [8, 4]},
    *({**CUT, "crops": [handle]} for handle in ("img_1", "../x", "img_7.c1")),
]


@pytest.mark.parametrize("artifact", DAMAGED_ARTIFACTS, ids=str)
def test_a_damaged_artifact_costs_its_crop_alone(artifact: object) -> None:
    memory = InMemorySaver()
    agent = agent_over(kept(), memory=memory)
    say(agent, QUESTION, block(RED))
    messages = agent.get_state(thread()).values["messages"]
    for message in [m for m in messages if isinstance(m, ToolMessage)]:
        changed = message.model_copy(update={"artifact": artifact})
        agent.update_state(thread(), {"messages": [changed]})
    toolkit = kept()
    assert say(agent_over(toolkit, memory=memory), "In img_1, what colour?").startswith("red")
    assert toolkit.images.get("img_1", "t").image.size == (800, 400)


@pytest.mark.parametrize("notes", DAMAGED_NOTES, ids=str)
def test_damaged_notes_are_made_anew(notes: object) -> None:
    memory = InMemorySaver()
    agent = agent_over(kept(), memory=memory)
    say(agent, QUESTION, block(RED))
    agent.update_state(thread(), {NOTES: notes})
    again = agent_over(kept(), memory=memory)
    assert say(again, "In img_1.c1, what colour is it?").startswith("red")
    assert list(again.get_state(thread()).values[NOTES]) == ["img_1"]


def test_a_message_that_was_damaged_costs_its_image_alone() -> None:
    memory = InMemorySaver()
    agent = agent_over(kept(), memory=memory)
    say(agent, QUESTION, block(RED), block(BLUE))
    first = agent.get_state(thread()).values["messages"][0]
    half = {"type": "image", "base64": text64(RED)[: len(text64(RED)) // 8 * 4]}
    changed = HumanMessage([QUESTION, half, block(BLUE)], id=first.id)
    agent.update_state(thread(), {"messages": [changed]})
    again = agent_over(kept(), memory=memory)
    assert say(again, "In img_2, what colour is it?").startswith("blue")
    say(again, "In img_1, what colour is it?")
    assert "Unknown image 'img_1'. Known: img_2" in last_error(again)


def test_the_stored_conversation_is_as_it_was_said() -> None:
    memory = InMemorySaver()
    agent = agent_over(kept(user_images="hide"), memory=memory)
    say(agent, QUESTION, block(RED))
    state = agent.get_state(thread()).values
    assert state["messages"][0].content == [{"type": "text", "text": QUESTION}, block(RED)]
    assert json.loads(json.dumps(state[NOTES])) == state[NOTES]
    assert NOTES not in agent.invoke({"messages": [HumanMessage(QUESTION)]}, thread())


def test_crops_are_shown_again_after_a_restart() -> None:
    """`PicturesOnTheWire` finds the pixels of what tools looked at in the history too."""
    memory = InMemorySaver()
    say(agent_over(kept(), memory=memory), QUESTION, block(RED))
    planner = Watched()
    say(agent_over(kept(crops="human", user_images="hide"), planner, memory), "Thank you?")
    pictures = [m for m in planner.seen[0] if m.text.startswith("Crops cut by")]
    assert pictures
    assert all(len(m.content) == 2 for m in pictures)


@pytest.mark.timeout(600)  # 5 s where nothing else runs
def test_every_handle_is_alive_in_a_new_process(tmp_path: Path) -> None:
    """SQLite is closed and opened again; a crop of a crop is among what was cut before."""
    before, after = (in_a_process(tmp_path / "chat.db", what) for what in ("ask", "again"))
    assert {"img_1", "img_1.c1", "img_2", "img_2.c1.c1"} <= before.keys()
    assert after == before


def in_a_process(file: Path, what: str) -> dict[str, str]:
    run = [sys.executable, "-m", "tests.tools.reopened", str(file), what]
    done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert isinstance(told, dict)
    return told
