"""LocalEngine: the model in this process. Batch first, stateless but for its prefix cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from laser_tools.doctor.checks import refuse_unfit
from laser_tools.engine.base import Engine, Kind, Request, Result, asked_of, kind_of
from laser_tools.engine.judge import check_max_error, covering, judged
from laser_tools.errors import InvalidRequest, TooLarge
from laser_tools.grounding.confidence import Calibration
from laser_tools.methods import METHODS, laser
from laser_tools.methods.presence import present_only
from laser_tools.options import LaserOptions, PromptOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer
from laser_tools.stop import ShouldStop, never
from laser_tools.vlm.budget import budget_of
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.forked import check_process
from laser_tools.vlm.load import load_vlm
from laser_tools.vlm.memory_errors import is_out_of_memory
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import check_question
from laser_tools.vlm.stages import Clock, Observer

Serve = Callable[[ModelCall, Sequence[Any], Any], Sequence[Result]]
"""(call, requests of one kind, options) -> one result per request."""


@dataclass(frozen=True)
class LocalEngine(Engine):
    """The model in this process; requests are served `batch_size` at a time.

    It may be called from several threads; their batches take turns on the model. A batch that does
    not fit into memory is served in halves.
    """

    vlm: VLM
    options: PromptOptions = field(default_factory=LaserOptions)  # of any method
    batch_size: int = 16
    observe: Callable[[int], Observer] = Clock  # for a batch of n, who is told of its stages

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "pico",
        options: PromptOptions | None = None,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        revision: str | None = None,
        device_map: str | dict[str, Any] | None = None,
        quantization_config: object | None = None,
        freeze_visual_layers: Sequence[int] = (),
    ) -> LocalEngine:
        """The engine over a model on this disk (`load_vlm`), or over the embedded "pico".

        Raises ModelUnavailable if there is no model that we can load.
        """
        vlm = load_vlm(
            model,
            device=device,
            dtype=dtype,
            revision=revision,
            device_map=device_map,
            quantization_config=quantization_config,
            freeze_visual_layers=freeze_visual_layers,
        )
        refuse_unfit(vlm)
        return cls(vlm, options or LaserOptions())

    def serve(self, requests: Sequence[Request], should_stop: ShouldStop = never) -> list[Result]:
        """One result per request, in order; requests of one kind share their passes.

        `should_stop` is asked before every pass and at every token. Raises InvalidRequest for a
        request that cannot be served, TooLarge for one that alone does not fit into memory,
        Cancelled once `should_stop` says so.
        """
        kinds: dict[Kind, list[int]] = {}
        for i, request in enumerate(requests):
            self._check_image(request)
            _check_box(request)
            check_question(self.vlm, asked_of(request))
            self._check_abstaining(request)
            kinds.setdefault(kind_of(request), []).append(i)
        results: dict[int, Result] = {}
        for kind, chosen in kinds.items():
            served = self._batched(kind, [requests[i] for i in chosen], should_stop)
            results |= dict(zip(chosen, served, strict=True))
        return [self._judged(request, results[i]) for i, request in enumerate(requests)]

    def _check_image(self, request: Request) -> None:
        (short, long), most = sorted(request.image.size), self.vlm.family.max_aspect
        if long > most * short:
            width, height = request.image.size
            raise InvalidRequest(
                f"This model takes images at most {most:g} times as long as wide; this one is "
                f"{width}x{height}. Ask about a part of it."
            )

    def _check_abstaining(self, request: Request) -> None:
        if isinstance(request, AnswerRequest):
            check_max_error(request, self._calibration(request))

    def _batched(
        self, kind: Kind, requests: Sequence[Request], should_stop: ShouldStop
    ) -> list[Result]:
        serve, options = served(kind), self._options(kind)

        def run(batch: Sequence[Request]) -> list[Result]:
            with self.vlm.lock:
                images = [request.image for request in batch]
                observer = self.observe(len(batch))
                call = ModelCall(self.vlm, images, should_stop, observer, budget_of(options))
                results = serve(call, batch, options)
                return _measured(results, call)

        check_process(self.vlm.device)
        requests = [_salted(request) for request in requests]
        starts = range(0, len(requests), self.batch_size)
        batches = [requests[start : start + self.batch_size] for start in starts]
        return [result for batch in batches for result in self._within_memory(run, batch)]

    def _options(self, kind: Kind) -> PromptOptions:
        """The engine's options if they fit the method, else its defaults with their instruction."""
        wanted = LaserOptions if kind == "zoom" else METHODS[kind].options
        if isinstance(self.options, wanted):
            return self.options
        shared = self.options.model_dump(include=set(PromptOptions.model_fields))
        return wanted(**shared)

    def _within_memory(
        self, run: Callable[[Sequence[Request]], Sequence[Result]], batch: Sequence[Request]
    ) -> list[Result]:
        """Run the batch; where memory runs out, drop old prefixes and go on in halves.

        Raises TooLarge once a single request does not fit though all else is given up.
        """
        results: list[Result] = []
        size, emptied = len(batch), False
        while len(results) < len(batch):
            try:
                results += run(batch[len(results) : len(results) + size])
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                alone = size == 1
            # Here, as the error held on to the tensors of the passes that it ended.
            self._empty_caches()
            if alone and emptied:
                raise TooLarge
            size, emptied = max(size // 2, 1), True
        return results

    def _empty_caches(self) -> None:
        with self.vlm.lock:
            self.vlm.prefixes.clear()
        torch.cuda.empty_cache()

    def _calibration(self, request: AnswerRequest) -> Calibration | None:
        return covering(self.vlm.calibration, request, self._options(kind_of(request)))

    def _judged(self, request: Request, answer: Result) -> Result:
        if isinstance(request, AnswerRequest) and isinstance(answer, GroundedAnswer):
            options = self._options(kind_of(request))
            return judged(request, answer, self._calibration(request), options)
        return answer


def served(kind: Kind) -> Serve:
    """The function that serves requests of a kind."""
    if kind == "zoom":
        return laser.zoom
    method = METHODS[kind]

    def answer(
        call: ModelCall, requests: Sequence[AnswerRequest], options: PromptOptions
    ) -> list[GroundedAnswer]:
        return present_only(call, requests, method.answer(call, requests, options), options)

    return answer


def _measured(results: Sequence[Result], call: ModelCall) -> list[Result]:
    costs = zip(results, call.observer.timings_s(), call.passes, strict=True)
    return [
        result.model_copy(update={"timings_s": timings_s, "passes": passes})
        for result, timings_s, passes in costs
    ]


def _salted(request: Request) -> Request:
    """The request, its image identified such that only the same salt finds its prefixes."""
    return request.model_copy(update={"image": request.image.salted(request.cache_salt)})


def _check_box(request: Request) -> None:
    width, height = request.image.size
    if not isinstance(request, AnswerRequest) or not request.boxes:
        return
    if not METHODS[request.method].crops:
        raise InvalidRequest(
            f"The method '{request.method}' asks about the whole image and takes no box."
        )
    if any(box.x1 > width or box.y1 > height for box in request.boxes):
        raise InvalidRequest(f"The box reaches outside the image of {width}x{height} pixels.")
