"""The faulty engine: marks are taken off, and each fault happens where it should."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

import pytest
import torch
from PIL import Image

from laser_tools.engine.base import Engine, Request, Result
from laser_tools.errors import Cancelled
from laser_tools.images.upright import UprightImage
from laser_tools.schema import AnswerRequest
from laser_tools.stop import ShouldStop, never
from laser_tools.vlm.stages import STAGES as CLOCK_STAGES
from laser_tools.worker.backends.watch import is_device_fault, is_out_of_memory
from laser_tools.worker.http.record import logger
from tests.gated import asked
from tests.hardening.faulty import KINDS, FaultyClock, FaultyEngine
from tests.hardening.sizes import STAGES


class Staged(Engine):
    """Goes through all stages on the clock, like the engine, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def serve(self, requests: Sequence[Request], should_stop: ShouldStop = never) -> list[Result]:
        clock = FaultyClock(len(requests))
        for stage in STAGES:
            with clock.stage(stage, range(len(requests))):
                pass
        self.asked += [asked(request) for request in requests]
        return []


def ask(question: str, should_stop: ShouldStop = never) -> list[str]:
    staged = Staged()
    request = AnswerRequest(image=UprightImage.of(Image.new("RGB", (32, 32))), question=question)
    FaultyEngine(staged).answer([request], should_stop)
    return staged.asked


def test_the_stages_are_the_clocks() -> None:
    assert STAGES == CLOCK_STAGES


@pytest.mark.parametrize("question", ["What?", "What [cuda@attend]?", "What? [nothing@attend]"])
def test_a_question_without_a_mark_is_asked_as_it_is(question: str) -> None:
    assert ask(question) == [question]


@pytest.mark.parametrize("stage", STAGES)
def test_memory_runs_out_in_a_stage(stage: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger.name)
    with pytest.raises(torch.OutOfMemoryError):
        ask(f"What? [oom@{stage}]")
    assert [json.loads(record.getMessage())["stage"] for record in caplog.records] == [stage]
    assert ask("What?") == ["What?"]  # nothing stays armed


def test_faults_are_what_the_worker_takes_them_for() -> None:
    with pytest.raises(RuntimeError) as cuda:
        ask("What? [cuda@decode]")
    assert is_device_fault(cuda.value)
    with pytest.raises(RuntimeError) as memory:
        ask("What? [oom@outside]")
    assert is_out_of_memory(memory.value)


def test_a_slow_stage_stops_when_told() -> None:
    answers = iter([False, False, True])
    with pytest.raises(Cancelled):
        ask("What? [slow@crop]", lambda: next(answers))
    assert "slow" in KINDS
