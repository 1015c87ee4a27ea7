"""A scripted chat model: it plans zoom -> ask -> answer by reading the conversation.

It stands where an LLM would stand, so that a whole agent can run and be tested without a network.
It keeps no state: each step is a function of the messages, as with any chat model.
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

from laser_tools.tools.delivery import CROPS_LABEL
from laser_tools.tools.langchain import ANNOUNCEMENT
from laser_tools.tools.refusals import for_a_person

MAX_CALLS = 4
_THING = re.compile(
    r"\b(?:the|a|an) (?!image\b)"
    r"([a-z]+(?: (?!(?:in|on|at|of|from|with|to|and|or|is|are)\b)[a-z]+)?)"
)

_NAME = r"img_[0-9]+(?:\.c[0-9]+)*"
_SIZED = rf"{_NAME} \([0-9]+x[0-9]+\)"
_HANDLE = re.compile(rf"\b{_NAME}")
_LIST = re.compile(
    rf"{re.escape(ANNOUNCEMENT)}(none|{_SIZED}(?:, {_SIZED})*(?: and [0-9]+ older)?)\.?"
)
_ATTACHED = re.compile(rf"\[image (?:{_NAME}, [0-9]+x[0-9]+|rejected: [^\]]*)\]")
_PLACE = rf"[\"'`]?\b{_NAME}\b[\"'`]?(?: ?\([0-9]+x[0-9]+\))?"
_PICTURE = r"(?:(?:the|this|my) )?(?:image|picture|photo)"
_TAG = re.compile(r"</?(?:image|img|question)>", re.IGNORECASE)
_TOLD = re.compile(  # "the image is img_1", also in the middle of a sentence; "(img_1)"
    rf"[-,;(\[–—]*\s*\b{_PICTURE}(?: is|'s| ?:| ?=| id:?| handle:?) ?{_PLACE}[-,;:)\]–—]*"
    rf"|[(\[]{_PLACE}[)\]]",
    re.IGNORECASE,
)
_LEADING = re.compile(  # "In img_1, ...", "img_1: ...", "Question: ..."
    rf"^\W*(?:(?:(?:in|on|from|for|about|regarding|using|given|see) )?(?:{_PICTURE} )?{_PLACE}"
    r"\s*[-,;:–—]|(?:the |my )?(?:question|user|q|prompt)\s*(?: is)?:)\s*",
    re.IGNORECASE,
)
_MENTION = re.compile(rf"(?:{_PICTURE} )?{_PLACE}", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.?!])\s+|\n\s*(?![a-z])|\n\s*\n")
_REFERS_BACK = re.compile(r"\b(?:it|its|they|them|their|that|these|those|he|she|his|her)\b", re.I)
_SMALL_TALK = frozenset(
    re.findall(
        r"\w+",
        """
        hello hi hey dear good morning evening day please thanks thank you very much
        a an the this that my your our i we me is are was be here there
        in on at of for to with and see look have has had got given use can could would will help
        question answer about following attached uploaded image images picture pictures photo photos
        file conversation handle handles called named available
        """,
    )
)
"""A sentence of these words alone announces or greets, and asks nothing."""


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
        start = max((i for i, m in enumerate(messages) if _is_asked(m)), default=None)
        if start is None:
            return AIMessage("Please ask me a question about an image.")
        question = self._question(messages[: start + 1])
        handle = _handle_for(messages[: start + 1])
        if handle is None:
            return AIMessage("Please give me an image first.")
        if not question:
            return AIMessage(f"What do you want to know about {handle}?")
        results = [m for m in messages[start:] if isinstance(m, ToolMessage)]
        if not results:
            return self._first(question, handle)
        return self._after(results, question, handle)

    def _question(self, messages: Sequence[BaseMessage]) -> str:
        """The question in the last message, a user's; "" if there is none."""
        return question_in(str(messages[-1].text))

    def _first(self, question: str, handle: str) -> AIMessage:
        return call(0, "zoom_to_evidence", image=handle, what=thing_asked_for(question))

    def _after(self, results: Sequence[ToolMessage], question: str, handle: str) -> AIMessage:
        last, n_calls = results[-1], len(results)
        if n_calls >= MAX_CALLS:
            return final(results)
        if last.status == "error":
            return _retry(last, n_calls, question)
        if last.name == "zoom_to_evidence":
            crops = [region["crop"] for region in read(last)["regions"]]
            return call(n_calls, "grounded_vqa", image=(crops or [handle])[0], question=question)
        if confidence_of(last) < self.sure_enough and read(last)["image"] != handle:
            return call(n_calls, "grounded_vqa", image=handle, question=question)
        return final(results)


def question_in(prompt: str) -> str:
    """The user's question, without what announces images, greets or labels; "" if there is none.

    Of several sentences those with a question mark, unless they refer back ("What is on it?") or
    there are none: then all. A handle inside the question becomes "the image".
    """
    return " ".join(filter(None, map(_without_handles, _asked(prompt))))


def thing_asked_for(question: str) -> str:
    """The last thing named in the question ('the red triangle' -> 'red triangle')."""
    things = _THING.findall(question)
    return things[-1] if things else question.rstrip("?.! ")


def _asked(prompt: str) -> list[str]:
    """The prompt's sentences that ask something, with the handles that they name."""
    lines = _TAG.sub("\n", _without_lists(prompt, "\n")).splitlines()
    kept = "\n".join(line for line in lines if "?" in line or not _is_small_talk(line))
    sentences = [" ".join(part.split()) for part in _SENTENCE.split(kept)]
    said = [s for s in sentences if not _is_small_talk(s)] or [s for s in sentences if "?" in s]
    asked = [sentence for sentence in said if "?" in sentence]
    return asked if asked and not any(map(_REFERS_BACK.search, asked)) else said


def _without_lists(text: str, instead: str) -> str:
    """The text without what announces images by itself: lists, and marks beside attached ones."""
    return _ATTACHED.sub(instead, _LIST.sub(instead, text))


def _is_small_talk(sentence: str) -> bool:
    return _SMALL_TALK.issuperset(re.findall(r"[^\W_]+", _MENTION.sub(" ", sentence).lower()))


def _without_handles(sentence: str) -> str:
    bare = sentence
    for announcing in (_TOLD, _LEADING):
        bare = announcing.sub(" ", bare).strip()
    return re.sub(r"\s+(?=[?.!,])|(?<=\s)\s+", "", _MENTION.sub("the image", bare))


def _is_asked(message: BaseMessage) -> bool:
    """True for a user's message, not for crops that the middleware puts beside tools."""
    return isinstance(message, HumanMessage) and not message.text.startswith(CROPS_LABEL)


def _handle_for(messages: Sequence[BaseMessage]) -> str | None:
    """The handle in the question, else beside it, else in what was said before, newest first."""
    prompts = [str(m.text) for m in reversed(messages) if m.type in ("human", "system")]
    return next(filter(None, map(_handle_in, [" ".join(_asked(prompts[0])), *prompts])), None)


def _handle_in(text: str) -> str | None:
    """The first handle of a sentence; where there is a list alone, its newest original."""
    said = _HANDLE.search(_without_lists(text, " "))
    listed = [handle for handle in _HANDLE.findall(text) if "." not in handle]
    return said.group() if said else next(reversed(listed), None)


def read(message: ToolMessage) -> dict[str, Any]:
    """The JSON of a tool's result, which an error is not."""
    fields = json.loads(message.text)
    assert isinstance(fields, dict)
    return fields


def confidence_of(message: ToolMessage) -> float:
    """The confidence of an answer; null (a model without calibration) counts as 1."""
    confidence = read(message)["confidence"]
    return 1.0 if confidence is None else float(confidence)


def _retry(error: ToolMessage, n_calls: int, question: str) -> AIMessage:
    known = _HANDLE.search(error.text.partition("Known:")[2])
    if known is None:
        return AIMessage(f"I could not look at the image: {for_a_person(error.text)}")
    return call(n_calls, "grounded_vqa", image=known.group(), question=question)


def call(number: int, tool: str, **args: str | int) -> AIMessage:
    """A message that calls one tool, the turn's call of that number."""
    return AIMessage("", tool_calls=[ToolCall(name=tool, args=args, id=f"call_{number}")])


def final(results: Sequence[ToolMessage]) -> AIMessage:
    """The surest of the answers in words; "I cannot see that" where the tool withheld it."""
    answers = [m for m in results if m.name == "grounded_vqa" and m.status != "error"]
    if not answers:
        return AIMessage("I found no answer in the image.")
    best = read(max(answers, key=confidence_of))
    if best.get("abstain"):
        return AIMessage("I cannot see that in the image.")
    sure = "" if best["confidence"] is None else f" (confidence {best['confidence']:.2f})"
    seen = best["evidence"][0]["box"] if best["evidence"] else best.get("crop", {}).get("box")
    where = f", seen at {seen} px of {best['image'].partition('.')[0]}" if seen else ""
    return AIMessage(f"{best['answer']}{sure}{where}")
