"""Draw a split's views with all cores and keep them on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from laser_tools.evaluation.benchmarks.microscenes.drawing import draw_scene
from laser_tools.evaluation.benchmarks.microscenes.scenes import Split, make_scene
from training.pico.build import GRID, INPUT_PX
from training.pico.cells import PLANES, cell_targets
from training.pico.views import KINDS, render, view_specs, what_is_seen

CHUNK = 32  # scenes that a process draws in a go


@dataclass(frozen=True)
class ViewStore:
    """A split's drawn views: pixels (scenes, 9, 96, 96, 3), targets (scenes, 9, 12, 12, 6)."""

    pixels: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)


def draw_views(split: Split, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and cell targets of the views of scene `index`."""
    scene = make_scene(split, index)
    image, specs = draw_scene(scene), view_specs(scene)
    pixels = np.stack([render(scene, image, spec) for spec in specs])
    targets = np.stack([cell_targets(what_is_seen(scene, spec)) for spec in specs])
    return pixels, targets


def draw_store(folder: Path, split: Split, scenes: int) -> ViewStore:
    """The first `scenes` scenes of `split`, drawn into `folder` unless they are already there."""
    done = folder / f"{split}_{scenes}.done"
    files = [folder / f"{split}_{name}.npy" for name in ("pixels", "targets")]
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _draw_all(files, split, scenes)
        done.touch()
    return ViewStore(*(np.load(file, mmap_mode="r") for file in files))


def _draw_all(files: list[Path], split: Split, scenes: int) -> None:
    shape, open_map = (scenes, len(KINDS)), np.lib.format.open_memmap
    pixels = open_map(files[0], "w+", np.uint8, (*shape, INPUT_PX, INPUT_PX, 3))
    targets = open_map(files[1], "w+", np.int8, (*shape, GRID, GRID, PLANES))
    drawn = tqdm(_drawn(split, scenes), total=scenes, desc=f"drawing {split}", mininterval=30)
    for i, made in enumerate(drawn):
        pixels[i], targets[i] = made
    pixels.flush()
    targets.flush()


def _drawn(split: Split, scenes: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`draw_views` of every scene; a chunk or less is not worth a pool of processes."""
    draw = partial(draw_views, split)
    if scenes <= CHUNK:
        yield from map(draw, range(scenes))
        return
    with get_context("spawn").Pool(os.cpu_count()) as pool:
        yield from pool.imap(draw, range(scenes), chunksize=CHUNK)
