"""Results of the tools in a conversation, and the one that a reply rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from langchain_core.messages import BaseMessage, ToolMessage

from laser_tools.errors import InvalidRequest
from laser_tools.schema import GroundedAnswer
from laser_tools.tools.results import LaserResult


def results_of(messages: Sequence[BaseMessage]) -> list[LaserResult]:
    """The laser tools' findings, in order; errors and other tools' results are left out."""
    found = (_result(m) for m in messages if isinstance(m, ToolMessage))
    return [result for result in found if result is not None]


def answers_since_asked(messages: Sequence[BaseMessage]) -> list[LaserResult]:
    """The tools' answers, in order, that came after the user's last message; no searches."""
    asked = max((i for i, m in enumerate(messages) if m.type == "human"), default=-1)
    results = results_of(messages[asked + 1 :])
    return [found for found in results if isinstance(found.result, GroundedAnswer)]


def supporting(messages: Sequence[BaseMessage]) -> LaserResult | None:
    """The newest answer of a tool that the last message quotes, of those since a user spoke.

    None where it quotes none: then nothing that was seen stands for what is said.
    """
    said = str(messages[-1].text)
    answers = reversed(answers_since_asked(messages))
    return next((found for found in answers if _quotes(said, found.result)), None)


def _result(message: ToolMessage) -> LaserResult | None:
    try:
        return LaserResult.from_artifact(message.artifact)
    except InvalidRequest:
        return None


def _quotes(said: str, result: object) -> bool:
    if not isinstance(result, GroundedAnswer) or result.abstain is not None:
        return False
    answer = re.escape(result.answer.strip())
    return bool(answer) and bool(re.search(rf"(?<!\w){answer}(?!\w)", said, re.IGNORECASE))
