"""A chatbot about pictures: it remembers them, shows where it looked, asks which, and can say no.

    pip install "laser-tools[engine,agents]" langgraph-checkpoint-sqlite
    python agents/chatbot.py
    you> @scene.png What number is on the yellow square?

"@FILE" attaches a picture. All of it is kept in --memory: tomorrow goes on where today ends.
Without --planner a scripted one plans; `--planner openai:gpt-5` takes any chat model that
`init_chat_model` knows (its package must be installed and its key set).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.sqlite import SqliteStore

from laser_tools import LaserError, LaserToolkit
from laser_tools.images.store import ImageStore
from laser_tools.tools.archive import StoreArchive
from laser_tools.tools.chat_model import chat_model
from laser_tools.tools.chatbot import (
    ABSTAIN_BELOW,
    Reply,
    build_chatbot,
    cut_off,
    reply_in,
)


@dataclass(frozen=True)
class Chatbot:
    """The agent of `build_chatbot`; what is said is in its memory, and images in the toolkit's."""

    toolkit: LaserToolkit
    agent: CompiledStateGraph[Any, Any, Any, Any]

    def say(self, text: str, images: Sequence[bytes] = (), thread_id: str = "me") -> Reply:
        """The reply to a text, with pictures or not. ImageRejected: it is none, nothing is said."""
        for image in images:
            self.toolkit.add_image(image, thread_id=thread_id)
        told = f"{text}\n{self.toolkit.announce(thread_id)}" if images else text
        config: RunnableConfig = {"configurable": {"thread_id": thread_id}}
        before = self.agent.get_state(config).values.get("messages", [])
        state = self.agent.invoke({"messages": [*cut_off(before), ("user", told)]}, config)
        return reply_in(state["messages"], self.toolkit, thread_id)


def attached(line: str) -> tuple[str, list[bytes]]:
    """A line as it was typed: its words, and the bytes of every "@FILE" in it."""
    words = line.split()
    files = [Path(word[1:]) for word in words if word.startswith("@")]
    return " ".join(w for w in words if not w.startswith("@")), [f.read_bytes() for f in files]


def main(
    memory: Annotated[Path, typer.Option(help="SQLite file of it all")] = Path("chat.db"),
    thread: Annotated[str, typer.Option(help="conversation to go on with")] = "me",
    planner: Annotated[str, typer.Option(help="chat model, such as openai:gpt-5")] = "",
    model: Annotated[str, typer.Option(help="pico, or a local model folder")] = "pico",
) -> None:
    """Talk about pictures; end with Ctrl-D. seen.png is the place that was looked at last."""
    try:
        chosen, file = chat_model(planner) if planner else None, str(memory)
    except LaserError as error:
        raise typer.BadParameter(str(error)) from None
    with SqliteSaver.from_conn_string(file) as saver, SqliteStore.from_conn_string(file) as store:
        images = ImageStore(archive=StoreArchive(store))
        toolkit = LaserToolkit(model=model, images=images, abstain_below=ABSTAIN_BELOW)
        chatbot = Chatbot(toolkit, build_chatbot(toolkit, saver, chosen))
        typer.echo("you> ", nl=False)
        for line in sys.stdin:
            try:
                reply = chatbot.say(*attached(line), thread_id=thread)
            except (LaserError, OSError) as error:
                reply = Reply(str(error))
            if reply.crops:
                reply.crops[0].save("seen.png")
            typer.echo(f"bot> {reply.text}\nyou> ", nl=False)
        typer.echo()


if __name__ == "__main__":
    typer.run(main)
