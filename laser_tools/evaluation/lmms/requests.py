"""Messages of lmms-eval -> a request; an answer -> what a task wants of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from laser_tools.errors import InvalidRequest
from laser_tools.evaluation.requests import answer_request
from laser_tools.images.files import open_image_file
from laser_tools.images.upright import UprightImage
from laser_tools.schema import MAX_NEW_TOKENS, AnswerRequest, MethodName

Message = Mapping[str, Any]
"""A role, and content: parts of type text, image, video or audio."""


def request_of(
    messages: Sequence[Message], generation: Mapping[str, Any], method: MethodName
) -> AnswerRequest:
    """The question that the messages put.

    Raises InvalidRequest where they are more than text and one image, or answers are sampled.
    """
    if generation.get("do_sample") or generation.get("temperature"):
        raise InvalidRequest("Decoding is greedy here: run with --gen_kwargs temperature=0.")
    parts = [part for message in messages for part in message["content"]]
    images = [part["url"] for part in parts if part["type"] == "image"]
    others = {part["type"] for part in parts} - {"text", "image"}
    if others or len(images) != 1:
        found = ", ".join([f"{len(images)} images", *sorted(others)])
        raise InvalidRequest(f"A question is text about one image; this one has {found}.")
    return answer_request(
        image=_picture(images[0]),
        question="\n".join(part["text"] for part in parts if part["type"] == "text").strip(),
        method=method,
        max_new_tokens=min(generation.get("max_new_tokens", 16), MAX_NEW_TOKENS),
    )


def until(answer: str, stops: str | Sequence[str] | None) -> str:
    """The answer as far as the first of the texts at which the task wants it to end."""
    for stop in [stops] if isinstance(stops, str) else stops or ():
        answer = answer.partition(stop)[0] if stop else answer
    return answer


def _picture(image: object) -> UprightImage:
    return UprightImage.of(image) if isinstance(image, Image.Image) else open_image_file(str(image))
