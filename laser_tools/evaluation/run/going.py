"""A run from beginning to end: what is not asked yet, batch by batch, into its file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from laser_tools.errors import InvalidRequest
from laser_tools.evaluation.batches import batches
from laser_tools.evaluation.benchmarks.base import Item
from laser_tools.evaluation.run.asking import Key
from laser_tools.evaluation.run.jsonl import Appender, whole_bytes
from laser_tools.evaluation.run.lines import (
    Header,
    Line,
    Lines,
    Run,
    as_text,
    check_same,
    read_lines,
)

AskBatches = Callable[[Iterable[list[Item]], Collection[Key]], Iterable[list[Line]]]
"""(batches of items, what is done) -> the lines of each batch, as they come."""


def go(
    path: Path,
    run: Run,
    items: Iterable[Item],
    ask: AskBatches,
    batch_size: int,
    resume: bool,
    progress: Callable[[int], object] = lambda done: None,
) -> None:
    """Ask what the file holds no answer to, and add it there; `progress` is told of items done.

    An error of an earlier run is asked again: the line that is added then counts in its place.
    Raises InvalidRequest if the file is there without `resume`, or is another run's.
    """
    with Appender(path) as file:
        before = _found(path, run, resume)
        done = {key for key, line in before.lines.items() if line.error is None}
        if run != before.run:
            file.append([Header(run=run).model_dump_json()])
        left = _left(items, run.methods, done, progress)
        for lines in ask(batches(left, batch_size), done):
            file.append(as_text(lines))
            progress(len({line.item.id for line in lines}))


def _left(
    items: Iterable[Item],
    methods: Sequence[str],
    done: Collection[Key],
    progress: Callable[[int], object],
) -> Iterator[Item]:
    """The items that some method has no line for."""
    for item in items:
        if all((item.id, name) in done for name in methods):
            progress(1)
        else:
            yield item


def _found(path: Path, run: Run, resume: bool) -> Lines:
    """The contents of an earlier run's file."""
    check_free(path, resume)
    if not whole_bytes(path):
        return Lines()
    before = read_lines(path, lambda line: line.model_copy(update={"judged": None}))
    if before.run is not None:
        check_same(before.run, run, path)
    return before


def check_free(path: Path, resume: bool) -> None:
    """Raises InvalidRequest for the file of an earlier run that is not to go on."""
    if not resume and path.exists() and whole_bytes(path):
        raise InvalidRequest(
            f"{path} holds a run already: go on with --resume, or choose another --json."
        )


def in_turn(
    ask_batch: Callable[[Sequence[Item], Collection[Key]], list[Line]],
) -> AskBatches:
    """One batch after the other, in this process."""

    def ask(batches: Iterable[list[Item]], done: Collection[Key]) -> Iterator[list[Line]]:
        return (ask_batch(batch, done) for batch in batches)

    return ask
