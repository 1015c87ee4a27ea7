"""A run's file: a line about the run, and one for every question and method."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from pydantic import Field, ValidationError

from laser_tools.errors import InvalidRequest
from laser_tools.evaluation.arms import Outcome
from laser_tools.evaluation.benchmarks.base import Item
from laser_tools.evaluation.run.heat import Heat
from laser_tools.evaluation.run.jsonl import read_rows
from laser_tools.evaluation.run.trouble import Trouble
from laser_tools.schema import Box, Frozen, GroundedAnswer

FIXED = ("set", "split", "seed", "model", "instruction", "options")
"""What must be the same for a run to go on; questions and methods may be added. So must the layer
of best-layer, where that was asked before."""


class Run(Frozen):
    """The facts of a run: the questions asked, of which model, under which options."""

    set: str
    split: str
    seed: int
    n: int  # questions of the whole run
    model: str
    methods: tuple[str, ...]
    metric: str
    instruction: str  # the line after every question
    options: dict[str, object] = Field(default_factory=dict)  # none are known of a worker's
    best_layer: int | None = None  # where that is one of the methods
    made_with: dict[str, object] = Field(default_factory=dict)  # machine, versions, commit


class Header(Frozen):
    """The line about a run."""

    run: Run


class Asked(Frozen):
    """An item without its picture."""

    id: str
    question: str
    references: tuple[str, ...]
    group: str
    detail: str = ""
    choices: tuple[str, ...] | None = None
    evidence: tuple[Box, ...] = ()

    @classmethod
    def of(cls, item: Item) -> Asked:
        return cls(**{name: getattr(item, name) for name in cls.model_fields})

    def item(self) -> Item:
        """The item, whose picture cannot be had."""
        return Item(image=_no_picture, **{name: getattr(self, name) for name in Asked.model_fields})


class Judgement(Frozen):
    """An answer with what it is worth. Its map is in `heat`, not in the answer."""

    score: float
    answer: GroundedAnswer
    heat: Heat | None = None
    hit: bool | None = None  # None where nothing was cropped, or nothing is to be found
    mass: float | None = None  # share of the map in the true boxes, likewise
    wall_s: float  # this question's share of its batch
    passes: float | None = None  # forward passes it took part in; None where they are elsewhere


class Line(Frozen):
    """One question asked in one way: judged, or why it is not."""

    item: Asked
    method: str
    judged: Judgement | None = None
    error: Trouble | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.item.id, self.method

    def outcome(self) -> Outcome:
        """The line as the reports know it. Only of a judged one."""
        assert self.judged is not None
        item, judged = self.item, self.judged
        return Outcome(
            item.group, item.detail, judged.score, judged.hit, judged.wall_s, judged.answer
        )


@dataclass
class Lines:
    """The contents of a run's file. Of two lines with one key the later counts."""

    run: Run | None = None
    lines: dict[tuple[str, str], Line] = field(default_factory=dict)
    broken: int = 0  # lines that cannot be read; their questions count as not asked


def read_lines(path: Path, keep: Callable[[Line], Line] = lambda line: line) -> Lines:
    """The lines of a run's file; `keep` may make them smaller.

    Raises InvalidRequest if there is no file, or it is of something else.
    """
    found = Lines()
    for _, row in read_rows(path):
        try:
            if isinstance(row, dict) and "run" in row:
                found.run = Header.model_validate(row).run
            else:
                line = keep(Line.model_validate(row))
                found.lines[line.key] = line
        except ValidationError:
            found.broken += 1
    if found.run is None and path.stat().st_size:
        raise InvalidRequest(f"{path} is not the file of a run.")
    return found


def check_same(old: Run, new: Run, path: Path) -> None:
    """Raises InvalidRequest if `new` cannot go on where `old` stopped."""
    differ = [name for name in FIXED if getattr(old, name) != getattr(new, name)]
    if None not in (old.best_layer, new.best_layer) and old.best_layer != new.best_layer:
        differ.append("best_layer")
    if differ:
        name = differ[0]
        raise InvalidRequest(
            f"{path} is of another run: its {name} is {getattr(old, name)!r}, now it would be "
            f"{getattr(new, name)!r}. Choose another --json."
        )


def as_text(lines: Iterable[Line]) -> list[str]:
    """Each line as JSON."""
    return [line.model_dump_json() for line in lines]


def _no_picture() -> NoReturn:
    raise InvalidRequest("A line of a run holds no picture; give the set's folder (--data).")
