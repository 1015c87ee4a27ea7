"""Strings that others fetch, open or unpack, given to the tools as image handles."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.tools import BaseTool
from PIL import Image

from laser_tools.tools.langchain import LaserToolkit
from tests.hardening.audit_hooks import watching
from tests.hardening.fixed_answer_engine import FixedAnswerEngine
from tests.hardening.hostile import HOSTILE_HANDLES
from tests.hardening.sizes import Bench, Figures

ARGUMENTS = {"grounded_vqa": {"question": "?"}, "zoom_to_evidence": {"what": "it"}}


def handles(bench: Bench) -> Figures:
    """Both tools, watched; none of the strings may be answered either."""
    toolkit = LaserToolkit(engine=FixedAnswerEngine("nothing"))
    toolkit.add_image(Image.new("RGB", (64, 48)))
    return {"handles": tried(toolkit.get_tools(), HOSTILE_HANDLES)}


def tried(tools: Sequence[BaseTool], strings: Sequence[str]) -> dict[str, object]:
    """Counts of what the tools did with the strings."""
    files, connects, answered = list[str](), list[str](), 0
    for tool in tools:
        _call(tool, "img_9")  # what is imported late is imported now
        for string in strings:
            with watching() as seen:
                status = _call(tool, string)
            answered += status != "error"
            files += seen.files
            connects += seen.connects
    return {
        "tried": len(set(strings)),
        "calls": len(strings) * len(tools),
        "files_opened": len(files),
        "outbound_connects": len(connects),
        "answered": answered,
    }


def _call(tool: BaseTool, handle: str) -> str:
    args = {"image": handle, **ARGUMENTS.get(tool.name, {})}
    call = {"type": "tool_call", "id": "1", "name": tool.name, "args": args}
    return str(tool.invoke(call).status)
