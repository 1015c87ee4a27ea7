"""Benchmarks: sets of questions about images, each with its own score and summary.

A benchmark is a file and a row of `DRAWN` (nothing to read) or `FROM_FILES` (official files in a
folder); bench, calibration and option sweeps take any of them. May import `pico`, `images` and the
hall, and nothing that asks a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from laser_tools.errors import InvalidRequest
from laser_tools.evaluation.benchmarks import (
    aokvqa,
    docvqa,
    gqa,
    hrbench,
    pope,
    refcoco,
    textvqa,
    vstar,
)
from laser_tools.evaluation.benchmarks.base import Benchmark
from laser_tools.evaluation.benchmarks.file_set import FileSet, InFolder
from laser_tools.evaluation.benchmarks.microscenes.benchmark import MicroScenes
from laser_tools.evaluation.benchmarks.microscenes.shifts import SHIFTS

DRAWN: Mapping[str, Benchmark] = {
    "microscenes": MicroScenes(),
    **{f"microscenes/{shift}": MicroScenes(shift=shift) for shift in SHIFTS},
}

FROM_FILES: Mapping[str, FileSet] = {
    each.name: each
    for each in (
        pope.SET,
        textvqa.SET,
        aokvqa.CHOICE,
        aokvqa.DIRECT,
        refcoco.REFCOCO,
        refcoco.REFCOCO_PLUS,
        refcoco.REFCOCOG,
        vstar.SET,
        hrbench.SET_4K,
        hrbench.SET_8K,
        gqa.SET,
        docvqa.SET,
    )
}

NAMES = (*DRAWN, *FROM_FILES)


def benchmark(name: str, folder: Path | None = None) -> Benchmark:
    """The benchmark of that name; official files lie in `folder`.

    Raises InvalidRequest if there is none, or the folder is missing or another set's.
    """
    if name in DRAWN:
        return DRAWN[name]
    if name not in FROM_FILES:
        raise InvalidRequest(f"There is no benchmark '{name}'; there are {', '.join(NAMES)}.")
    kind = FROM_FILES[name]
    if folder is None or not folder.is_dir():
        given = f"'{folder}' is none" if folder else "none was given"
        raise InvalidRequest(f"{name} needs the folder of its files (--data); {given}.")
    _check_kind(kind, folder)
    return InFolder(kind, folder)


def _check_kind(kind: FileSet, folder: Path) -> None:
    """A folder without a file of this set, but with another's, is told apart here."""
    if _holds(kind, folder):
        return
    others = [name for name, other in FROM_FILES.items() if _holds(other, folder)]
    if others:
        raise InvalidRequest(f"{folder} holds {' or '.join(others)}, not {kind.name}.")


def _holds(kind: FileSet, folder: Path) -> bool:
    return any((folder / file).exists() for file in kind.files)
