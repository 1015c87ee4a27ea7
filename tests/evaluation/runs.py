"""Runs without a model: a cheap asker, and a script that kills a run at random and resumes it."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from laser_tools.evaluation.benchmarks.base import Item, exact
from laser_tools.evaluation.run.asker import Asker
from laser_tools.evaluation.run.asking import ask_batch
from laser_tools.evaluation.run.going import go, in_turn
from laser_tools.evaluation.run.lines import Run
from laser_tools.evaluation.run.setup import arms_of
from laser_tools.options import LaserOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer
from tests.evaluation import fakes

METHODS = ("plain", "laser")
KILLS, QUESTIONS, BATCH, PAUSE_S = 5, 200, 4, 0.01


def run_of(**changes: object) -> Run:
    basic = Run(
        set="fakes", split="test", seed=0, n=QUESTIONS, model="fake", methods=METHODS,
        metric="exact match", instruction="", options={"alpha": 0.25},
    )  # fmt: skip
    return basic.model_copy(update=changes)


Ask = Callable[[Sequence[AnswerRequest], LaserOptions], list[GroundedAnswer]]


def start(
    path: Path,
    items: Sequence[Item],
    ask: Ask,
    *,
    run: Run | None = None,
    resume: bool = False,
    batch_size: int = BATCH,
) -> list[int]:
    """Ask through the whole machinery; returns what progress was told."""
    chosen, told = run or run_of(), list[int]()
    arms = arms_of(chosen.methods, LaserOptions(), remote=False, layer=chosen.best_layer)
    one = partial(ask_batch, Asker(ask, "fake"), arms, score=exact)
    asking = in_turn(lambda batch, done: one(batch, done=done))
    go(path, chosen, items, asking, batch_size, resume, told.append)
    return told


def slowly(log: Path) -> Ask:
    """The fake subject, taking its time and noting every question that it is asked."""
    subject = fakes.FakeSubject()

    def ask(requests: Sequence[AnswerRequest], options: LaserOptions) -> list[GroundedAnswer]:
        with log.open("a", encoding="utf-8") as file:
            file.writelines(f"{request.method} {request.question}\n" for request in requests)
        time.sleep(PAUSE_S)
        return subject.ask(requests, options)

    return ask


def questions(n: int = QUESTIONS) -> list[Item]:
    return [replace(item, id=f"q{item.id}") for item in fakes.items(n)]


def main(folder: Path, seed: int) -> None:
    """An undisturbed run, and one that is killed KILLS times."""
    start(folder / "whole.jsonl", questions(), slowly(folder / "whole.log"))
    draw, path = random.Random(seed), folder / "killed.jsonl"
    whole_s = 2 * PAUSE_S * QUESTIONS / BATCH
    for _ in range(KILLS):
        child = os.fork()
        if child == 0:
            start(path, questions(), slowly(folder / "killed.log"), resume=True)
            os._exit(0)
        time.sleep(draw.uniform(0.05, 0.15) * whole_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    start(path, questions(), slowly(folder / "killed.log"), resume=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
