"""The page in gradio: a header and two tabs over one engine."""

from __future__ import annotations

from html import escape

import gradio as gr

from laser_tools.demo import ask_tab, chat_tab
from laser_tools.demo.chatting import Chat, Planner
from laser_tools.engine.base import Engine

MAX_WAITING = 16  # questions; the next one is told to come back
AT_ONCE = 4  # questions of different people that an engine may put into one batch
KEPT_S = 3600  # how long an upload stays on this disk


def build(engine: Engine, source: str, planner: Planner | None = None) -> gr.Blocks:
    """The page over `engine`; `source` says in a few words which model answers, and where.

    `planner` plans in the chat; without it the scripted one does.
    """
    plans = None if planner is None else planner.name
    with gr.Blocks(
        title="LASER: ask an image", analytics_enabled=False, delete_cache=(KEPT_S, KEPT_S)
    ) as page:
        gr.HTML(_header(source), elem_id="header", apply_default_css=False)
        with gr.Tabs():
            with gr.Tab("Ask", elem_id="ask-tab"):
                ask_tab.build(engine)
            with gr.Tab("Chat", elem_id="chat-tab"):
                chat_tab.build(Chat.over(engine, planner), source, plans)
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=AT_ONCE, api_open=False)
    return page


def _header(source: str) -> str:
    return (
        "<header class='lt-header'><h1>LASER</h1>"
        "<p>Ask an image, and see where the answer comes from.</p>"
        f"<span class='lt-source'>{escape(source)}</span></header>"
    )
