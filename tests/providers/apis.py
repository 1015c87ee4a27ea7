"""Four chat APIs, as far as an agent with image tools needs them: what they refuse, what they say.

Each reads a request's messages into `Turn`s, and refuses what the API that it stands for refuses:
unknown roles and blocks, images where they are not allowed, tool calls without their results.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

Json = dict[str, Any]
_NUMBERS = itertools.count()
Role = Literal["system", "user", "assistant", "tool"]


class Refused(Exception):
    """A 400, and why."""


@dataclass(frozen=True)
class Turn:
    """A message, whatever its format."""

    role: Role
    text: str = ""
    images: tuple[bytes, ...] = ()
    calls: tuple[tuple[str, str, Json], ...] = ()  # id, tool, arguments
    results: tuple[str, ...] = ()  # ids of the calls that are answered


@dataclass(frozen=True)
class Reply:
    """A tool call, or text."""

    text: str = ""
    call: tuple[str, str, Json] | None = None


@dataclass(frozen=True)
class Api:
    """A path, how its requests are read, and how a reply is written."""

    path: str
    read: Callable[[Json], list[Turn]]
    write: Callable[[Reply], Json]


def checked(turns: Sequence[Turn]) -> Sequence[Turn]:
    """Every tool call must be answered by the turns that follow it, and nothing else be."""
    waiting: set[str] = set()
    for turn in turns:
        for answered in turn.results:
            refuse_unless(answered in waiting, f"no call {answered} before its result")
            waiting.remove(answered)
        refuse_unless(turn.role == "tool" or not waiting, f"calls without results: {waiting}")
        waiting |= {call for call, _, _ in turn.calls}
        for image in turn.images:
            Image.open(io.BytesIO(image)).load()
    refuse_unless(not waiting and bool(turns), "the last call has no result")
    return turns


def refuse_unless(fine: bool, why: str) -> None:
    if not fine:
        raise Refused(why)


def _fresh() -> str:
    """An id: LangGraph takes two messages with one id for the same."""
    return f"id_{next(_NUMBERS)}"


def data_url(url: object) -> bytes:
    refuse_unless(isinstance(url, str) and url.startswith("data:image/"), f"no data URL: {url!r}")
    return base64.b64decode(str(url).partition(",")[2], validate=True)


def blocks(content: object) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())  # type: ignore[call-overload]


def parts(
    content: object, text_types: Sequence[str], images: Mapping[str, Callable[[Json], bytes]]
) -> tuple[str, tuple[bytes, ...]]:
    """Text and images of a content; any other block is refused."""
    texts, found = [], []
    for block in blocks(content):
        kind = block["type"]
        refuse_unless(kind in (*text_types, *images), f"no block of type {kind} here")
        if kind in images:
            found.append(images[kind](block))
        else:
            texts.append(block["text"])
    return "\n".join(texts), tuple(found)


# OpenAI, Chat Completions


def read_completions(body: Json) -> list[Turn]:
    return [_completion(message) for message in body["messages"]]


def _completion(message: Json) -> Turn:
    role = message["role"]
    refuse_unless(role in ("system", "user", "assistant", "tool"), f"role {role}")
    only_users = {"image_url": lambda b: data_url(b["image_url"]["url"])} if role == "user" else {}
    text, images = parts(message.get("content"), ["text"], only_users)
    calls = tuple(
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls", ())
    )
    return Turn(role, text, images, calls, (message["tool_call_id"],) if role == "tool" else ())


def write_completions(reply: Reply) -> Json:
    message: Json = {"role": "assistant", "content": reply.text or None}
    if reply.call:
        number, name, args = reply.call
        function = {"name": name, "arguments": json.dumps(args)}
        message["tool_calls"] = [{"id": number, "type": "function", "function": function}]
    stop = "tool_calls" if reply.call else "stop"
    choice = {"index": 0, "message": message, "finish_reason": stop}
    return {
        "id": _fresh(), "object": "chat.completion", "created": 1, "model": "stub",
        "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }  # fmt: skip


# OpenAI, Responses


def read_responses(body: Json) -> list[Turn]:
    return [_item(item) for item in body["input"]]


def _item(item: Json) -> Turn:
    kind = item.get("type", "message")
    images = {"input_image": lambda b: data_url(b["image_url"])}
    if kind == "function_call":
        return Turn("assistant", calls=((item["call_id"], item["name"], {}),))
    if kind == "function_call_output":
        text, found = parts(item["output"], ["text", "input_text"], images)
        return Turn("tool", text, found, results=(item["call_id"],))
    role: Role = "system" if item["role"] == "developer" else item["role"]
    refuse_unless(kind == "message" and role in ("system", "user", "assistant"), f"{kind} {role}")
    texts = ["output_text"] if role == "assistant" else ["input_text"]
    content = item["content"]
    if isinstance(content, str):
        return Turn(role, content)
    return Turn(role, *parts(content, texts, images if role == "user" else {}))


def write_responses(reply: Reply) -> Json:
    if reply.call:
        number, name, args = reply.call
        output: Json = {
            "type": "function_call", "id": f"fc_{number}", "call_id": number, "name": name,
            "arguments": json.dumps(args), "status": "completed",
        }  # fmt: skip
    else:
        text = {"type": "output_text", "text": reply.text, "annotations": []}
        output = {
            "type": "message", "id": _fresh(), "role": "assistant", "status": "completed",
            "content": [text],
        }  # fmt: skip
    return {
        "id": _fresh(), "object": "response", "created_at": 1, "model": "stub",
        "status": "completed", "output": [output],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "usage": {
            "input_tokens": 1, "output_tokens": 1, "total_tokens": 2,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }  # fmt: skip


# Anthropic


def read_anthropic(body: Json) -> list[Turn]:
    system = [Turn("system", parts(body["system"], ["text"], {})[0])] if "system" in body else []
    messages = body["messages"]
    roles = [message["role"] for message in messages]
    refuse_unless(set(roles) <= {"user", "assistant"}, f"roles {roles}")
    refuse_unless(all(a != b for a, b in itertools.pairwise(roles)), f"roles {roles}")
    return [*system, *(turn for message in messages for turn in _claude(message))]


def _claude(message: Json) -> list[Turn]:
    """A user's message may begin with results of tools, and go on with what the user says."""
    found = blocks(message["content"])
    results = [block for block in found if block["type"] == "tool_result"]
    refuse_unless(found[: len(results)] == results, "results of tools come first")
    turns = [
        Turn("tool", *parts(r["content"], ["text"], _CLAUDE_IMAGE), results=(r["tool_use_id"],))
        for r in results
    ]
    uses = [block for block in found if block["type"] == "tool_use"]
    said = [block for block in found[len(results) :] if block not in uses]
    text, images = parts(said, ["text"], _CLAUDE_IMAGE if message["role"] == "user" else {})
    calls = tuple((use["id"], use["name"], use["input"]) for use in uses)
    return [*turns, *([Turn(message["role"], text, images, calls)] if said or uses else [])]


def _claude_image(block: Json) -> bytes:
    source = block["source"]
    refuse_unless(source["type"] == "base64", f"source {source['type']}")
    refuse_unless(source["media_type"] in ("image/png", "image/jpeg"), source["media_type"])
    return base64.b64decode(source["data"], validate=True)


_CLAUDE_IMAGE = {"image": _claude_image}


def write_anthropic(reply: Reply) -> Json:
    content: Json = {"type": "text", "text": reply.text}
    if reply.call:
        number, name, args = reply.call
        content = {"type": "tool_use", "id": number, "name": name, "input": args}
    return {
        "id": _fresh(), "type": "message", "role": "assistant", "model": "stub",
        "content": [content],
        "stop_reason": "tool_use" if reply.call else "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }  # fmt: skip


# Ollama


def read_ollama(body: Json) -> list[Turn]:
    return [_ollama(message) for message in body["messages"]]


def _ollama(message: Json) -> Turn:
    role, content = message["role"], message.get("content", "")
    refuse_unless(role in ("system", "user", "assistant", "tool"), f"role {role}")
    refuse_unless(isinstance(content, str), "content must be a string")
    images = tuple(base64.b64decode(i, validate=True) for i in message.get("images") or ())
    calls = tuple(
        (call.get("id") or "call_1", call["function"]["name"], call["function"]["arguments"])
        for call in message.get("tool_calls") or ()
    )
    return Turn(
        role, content, images, calls,
        (message.get("tool_call_id") or "call_1",) if role == "tool" else (),
    )  # fmt: skip


def write_ollama(reply: Reply) -> Json:
    message: Json = {"role": "assistant", "content": reply.text}
    if reply.call:
        number, name, args = reply.call
        function = {"name": name, "arguments": args}
        message["tool_calls"] = [{"id": number, "function": function}]
    return {
        "model": "stub", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": True,
        "done_reason": "stop", "total_duration": 1, "load_duration": 1, "prompt_eval_count": 1,
        "prompt_eval_duration": 1, "eval_count": 1, "eval_duration": 1,
    }  # fmt: skip


APIS = {
    "completions": Api("/v1/chat/completions", read_completions, write_completions),
    "responses": Api("/v1/responses", read_responses, write_responses),
    "anthropic": Api("/v1/messages", read_anthropic, write_anthropic),
    "ollama": Api("/api/chat", read_ollama, write_ollama),
}
