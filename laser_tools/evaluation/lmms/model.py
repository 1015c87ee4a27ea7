"""The chat model: lmms-eval's requests in, answers of our engine out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn, get_args

from lmms_eval.api.model import lmms

from laser_tools.engine.local import LocalEngine
from laser_tools.errors import InvalidRequest
from laser_tools.evaluation.arms import with_overrides
from laser_tools.evaluation.batches import batches
from laser_tools.evaluation.lmms.requests import request_of, until
from laser_tools.evaluation.run.local import LoadModel
from laser_tools.methods import METHODS
from laser_tools.schema import MethodName


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


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
