"""Shared by the page's tabs: an upload's path, an error as a pop-up, settings of their events."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from laser_tools.errors import ImageRejected, LaserError

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

Changes = dict[gr.blocks.Block, Any]


def uploaded(path: str | None) -> Path:
    """The file's path, if it was uploaded: gradio takes others from a form that it did not make.

    Raises:
        ImageRejected: it was not.
    """
    file = Path(path or "").resolve()
    if not file.is_relative_to(Path(get_upload_folder()).resolve()):
        raise ImageRejected("The image must be uploaded. Drop one in, or take the example.")
    return file


def as_shown(error: LaserError) -> gr.Error:
    """The error as a pop-up, which takes HTML: a worker's words are escaped."""
    return gr.Error(escape(error.public_text), title="No answer", print_exception=False)
