"""A chat model that needs no network: it plans zoom -> ask -> answer by reading the conversation.

It stands where an LLM would stand, so that a whole agent can run and be tested anywhere. It keeps
no state: each step is a function of the messages, as with any chat model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

_HANDLE = re.compile(r"\bimg_[0-9]+(?:\.c[0-9]+)*")
_THING = re.compile(r"\b(?:the|a|an) ([a-z]+(?: [a-z]+)?)")
_SENTENCE_END = re.compile(r"[?.!\n]")
MAX_CALLS = 4


class ScriptedPlanner(BaseChatModel):
    """Zoom to what the question names, ask about the crop, and ask again on the whole when unsure.

    `sure_enough` is the confidence (0-1) at which the crop's answer is taken as it is. After a tool
    error it goes on with the first handle that the error lists; `MAX_CALLS` ends every plan.
    """

    sure_enough: float = 0.5

    @property
    def _llm_type(self) -> str:
        return "scripted-planner"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: object,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Accepted and ignored: the script knows its two tools by name."""
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        reply = self.next_step(messages)
        return ChatResult(generations=[ChatGeneration(message=reply)])

    def next_step(self, messages: Sequence[BaseMessage]) -> AIMessage:
        """The next tool call, or the final answer."""
        turn = _current_turn(messages)
        question, results = str(turn[0].text), [m for m in turn if isinstance(m, ToolMessage)]
        handle = _first_handle(question)
        if handle is None:
            return AIMessage("Please give me an image first.")
        if not results:
            return _call(0, "zoom_to_evidence", image=handle, what=thing_asked_for(question))
        return self._after(results, sentence(question), handle)

    def _after(self, results: Sequence[ToolMessage], question: str, handle: str) -> AIMessage:
        last, n_calls = results[-1], len(results)
        if n_calls >= MAX_CALLS:
            return _final(results)
        if last.status == "error":
            return _retry(last, n_calls, question)
        if last.name == "zoom_to_evidence":
            crops = [region["crop"] for region in _read(last)["regions"]]
            return _call(n_calls, "grounded_vqa", image=(crops or [handle])[0], question=question)
        if _confidence(last) < self.sure_enough and _read(last)["image"] != handle:
            return _call(n_calls, "grounded_vqa", image=handle, question=question)
        return _final(results)


def sentence(prompt: str) -> str:
    """The question itself: the prompt's first line, without the announced handles."""
    return prompt.strip().partition("\n")[0].strip()


def thing_asked_for(prompt: str) -> str:
    """The last thing named in the question ('the red triangle' -> 'red triangle')."""
    question = _SENTENCE_END.split(sentence(prompt))[0]
    things = _THING.findall(question)
    return things[-1] if things else question


def _current_turn(messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    """From the last question on; pictures put on the wire beside tools are not questions."""
    starts = [i for i, m in enumerate(messages) if isinstance(m, HumanMessage) and _is_text(m)]
    return messages[starts[-1] :]


def _is_text(message: BaseMessage) -> bool:
    return isinstance(message.content, str)


def _first_handle(text: str) -> str | None:
    found = _HANDLE.search(text)
    return found.group() if found else None


def _read(message: ToolMessage) -> dict[str, Any]:
    fields = json.loads(message.text)
    assert isinstance(fields, dict)
    return fields


def _confidence(message: ToolMessage) -> float:
    """Null (a model without calibration) counts as sure: there is nothing to compare."""
    confidence = _read(message)["confidence"]
    return 1.0 if confidence is None else float(confidence)


def _retry(error: ToolMessage, n_calls: int, question: str) -> AIMessage:
    known = _first_handle(error.text.partition("Known:")[2])
    if known is None:
        return AIMessage(f"I could not look at the image: {error.text}")
    return _call(n_calls, "grounded_vqa", image=known, question=question)


def _call(number: int, tool: str, **args: str) -> AIMessage:
    return AIMessage("", tool_calls=[ToolCall(name=tool, args=args, id=f"call_{number}")])


def _final(results: Sequence[ToolMessage]) -> AIMessage:
    answers = [m for m in results if m.name == "grounded_vqa" and m.status != "error"]
    if not answers:
        return AIMessage("I found no answer in the image.")
    best = _read(max(answers, key=_confidence))
    sure = "" if best["confidence"] is None else f" (confidence {best['confidence']:.2f})"
    seen = best["evidence"][0]["box"] if best["evidence"] else best.get("crop", {}).get("box")
    where = f", seen at {seen} in {best['frame']}" if seen else ""
    return AIMessage(f"{best['answer']}{sure}{where}")
