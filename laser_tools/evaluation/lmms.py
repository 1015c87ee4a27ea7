"""Every method as a chat model of lmms-eval, for its tasks with one image and a text to write.

    lmms-eval --model laser_tools --model_args pretrained=pico,method=laser --tasks ...

Imported by lmms-eval alone, which is not among our extras.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, get_args

from lmms_eval.api.model import lmms
from PIL import Image

from laser_tools.engine.local import LocalEngine
from laser_tools.errors import InvalidRequest
from laser_tools.evaluation.arms import with_overrides
from laser_tools.evaluation.batches import batches
from laser_tools.evaluation.requests import answer_request
from laser_tools.evaluation.run.local import LoadModel
from laser_tools.images.files import open_image_file
from laser_tools.images.upright import UprightImage
from laser_tools.methods import METHODS
from laser_tools.schema import MAX_NEW_TOKENS, AnswerRequest, MethodName

Message = Mapping[str, Any]
"""A message of lmms-eval: a role, and content of type text, image, video or audio."""


class LaserTools(lmms):  # type: ignore[misc]  # lmms-eval is untyped here
    """Our engine under one method. Decoding is greedy.

    Further arguments are the method's options. Raises InvalidRequest for those it does not have.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str = "pico",
        method: MethodName = "laser",
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: object = None,  # lmms-eval passes it on, for batches that it sizes itself
        **options: object,
    ) -> None:
        super().__init__()
        if method not in METHODS:
            known = ", ".join(get_args(MethodName))
            raise InvalidRequest(f"The methods are {known}; not {method!r}.")
        given = (f"{name}={_text(value)}" for name, value in options.items())
        chosen = with_overrides(METHODS[method].options(), given)
        vlm = LoadModel(pretrained, device, dtype=dtype).vlm()
        self.method, self.batch_size = method, int(batch_size)
        self.engine = LocalEngine(vlm, chosen, batch_size=self.batch_size)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """An answer to each of lmms-eval's requests, in order. Raises as the engine does."""
        return [
            answer
            for batch in batches(requests, self.batch_size)
            for answer in self._answers([request.args for request in batch])
        ]

    def loglikelihood(self, requests: Sequence[Any]) -> NoReturn:
        raise InvalidRequest("laser_tools writes answers: choose a task of type generate_until.")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> NoReturn:
        raise InvalidRequest("laser_tools answers single questions: choose a task of one round.")

    def _answers(self, batch: Sequence[tuple[Any, ...]]) -> list[str]:
        asked = []
        for _, messages_of, generation, number, task, split in batch:
            messages = messages_of(self.task_dict[task][split][number])
            asked.append(request_of(messages, generation, self.method))
        answers = self.engine.answer(asked)
        return [
            until(found.answer, generation.get("until"))
            for found, (_, _, generation, *_) in zip(answers, batch, strict=True)
        ]


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


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
