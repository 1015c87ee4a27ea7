"""Questions of one's own, from a file of JSON lines to another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from laser_tools.engine.base import Engine
from laser_tools.errors import InvalidRequest, LaserError
from laser_tools.evaluation.batches import batches
from laser_tools.evaluation.requests import answer_request
from laser_tools.evaluation.run.jsonl import Appender, read_rows, whole_bytes
from laser_tools.evaluation.run.one_by_one import ask_each
from laser_tools.evaluation.run.trouble import Trouble, without_map
from laser_tools.images.files import open_image_file
from laser_tools.schema import AnswerRequest, Ask, Frozen, GroundedAnswer


class Question(Ask):
    """A line of the questions: `image` is a path, seen from the folder of the file."""

    id: str | int | None = None
    image: str = Field(min_length=1)


class Row(Frozen):
    """A line of the answers. `line` is that of the question, `crops` the files that were drawn."""

    id: str
    line: int
    answer: GroundedAnswer | None = None
    error: Trouble | None = None
    crops: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """A line of the questions as it was read: a question, or why it is none."""

    id: str
    line: int
    question: Question | str


@dataclass(frozen=True)
class Counts:
    """The outcomes of a batch, counted."""

    answered: int
    errors: int


def read_questions(path: Path) -> Iterator[Asked]:
    """Every line but blank ones; one that is no question keeps its place."""
    for number, row in read_rows(path):
        yield _asked(number, row)


def _asked(number: int, row: dict[str, Any] | str) -> Asked:
    name = f"line {number}"
    if isinstance(row, str):
        return Asked(name, number, row)
    if isinstance(row.get("id"), str | int):
        name = str(row["id"])
    try:
        return Asked(name, number, Question.model_validate(row))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "line"
        return Asked(name, number, f"{field}: {first['msg']}")


def check_ids(path: Path) -> int:
    """The number of questions. Raises InvalidRequest for an id that occurs twice."""
    seen: dict[str, int] = {}
    for asked in read_questions(path):
        if asked.id in seen:
            raise InvalidRequest(
                f"Lines {seen[asked.id]:,} and {asked.line:,} of {path} have one id, {asked.id}."
            )
        seen[asked.id] = asked.line
    return len(seen)


@dataclass(frozen=True)
class BatchJob:
    """Loads an engine and answers batches with it; crops go into a folder."""

    load: Callable[[], Engine]
    folder: Path  # from which the paths of pictures are seen
    crops: Path | None = None

    def __call__(self) -> Callable[[list[Asked]], list[str]]:
        engine = self.load()
        return lambda batch: [
            row.model_dump_json() for row in _answered(batch, self.folder, engine, self.crops)
        ]


AnswerBatches = Callable[[Iterable[list[Asked]]], Iterable[list[str]]]
"""Batches of questions -> the lines of each."""


def in_turn(job: BatchJob) -> AnswerBatches:
    """One batch after the other, in this process; the model is loaded before the first."""

    def answer(batches: Iterable[list[Asked]]) -> Iterator[list[str]]:
        work = job()
        yield from map(work, batches)

    return answer


def answer_file(
    questions: Path,
    answers: Path,
    answer: AnswerBatches,
    *,
    batch_size: int = 16,
    resume: bool = False,
    progress: Callable[[int], object] = lambda done: None,
) -> Counts:
    """Answer what is not answered yet, a line for each question.

    Raises InvalidRequest for an id that occurs twice, or answers that are there without `resume`.
    """
    check_ids(questions)
    with Appender(answers) as file:
        done = _done(answers, resume)
        progress(len(done))
        left = (asked for asked in read_questions(questions) if asked.id not in done)
        for lines in answer(batches(left, batch_size)):
            file.append(lines)
            progress(len(lines))
    return counts(answers)


def _done(path: Path, resume: bool) -> set[str]:
    """The questions that have a line already."""
    if not whole_bytes(path):
        return set()
    if not resume:
        raise InvalidRequest(f"{path} holds answers already: go on with --resume.")
    rows = [row for _, row in read_rows(path) if isinstance(row, dict)]
    if not any("id" in row and "line" in row for row in rows):
        raise InvalidRequest(f"{path} is not a file of answers; choose another --out.")
    return {str(row["id"]) for row in rows if "id" in row}


def counts(path: Path) -> Counts:
    """Of the answers in a file."""
    rows = [row for _, row in read_rows(path) if isinstance(row, dict)]
    errors = sum(row.get("error") is not None for row in rows)
    return Counts(len(rows) - errors, errors)


def _answered(
    batch: Sequence[Asked], folder: Path, engine: Engine, crops: Path | None
) -> list[Row]:
    rows: dict[str, Row] = {}
    requests: list[tuple[Asked, AnswerRequest]] = []
    for asked in batch:
        try:
            requests.append((asked, _request(asked, folder)))
        except LaserError as error:
            rows[asked.id] = _failed(asked, error)
    for row in ask_each(
        requests,
        lambda some: _asked_at_once(some, engine, crops),
        lambda pair, error: _failed(pair[0], error),
    ):
        rows[row.id] = row
    return [rows[asked.id] for asked in batch]


def _request(asked: Asked, folder: Path) -> AnswerRequest:
    """Raises ImageRejected or InvalidRequest for a question that cannot be asked."""
    if isinstance(asked.question, str):
        raise InvalidRequest(f"Line {asked.line:,} is no question: {asked.question}.")
    fields = asked.question.model_dump(exclude={"id", "image"})
    return answer_request(image=open_image_file(folder / asked.question.image), **fields)


def _asked_at_once(
    some: Iterable[tuple[Asked, AnswerRequest]], engine: Engine, crops: Path | None
) -> list[Row]:
    pairs = list(some)
    answers = engine.answer([request for _, request in pairs])
    return [
        Row(
            id=asked.id,
            line=asked.line,
            answer=without_map(answer),
            crops=_drawn(asked, request, answer, crops) if crops else (),
        )
        for (asked, request), answer in zip(pairs, answers, strict=True)
    ]


def _drawn(
    asked: Asked, request: AnswerRequest, answer: GroundedAnswer, folder: Path
) -> tuple[str, ...]:
    """The crops of an answer as PNG files, by the line of the question."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for i, box in enumerate(answer.crop_boxes, 1):
        path = folder / f"{asked.line:06}.{i}.png"
        request.image.crop(box).pixels.save(path)
        names.append(str(path))
    return tuple(names)


def _failed(asked: Asked, error: LaserError) -> Row:
    return Row(id=asked.id, line=asked.line, error=Trouble.of(error))
