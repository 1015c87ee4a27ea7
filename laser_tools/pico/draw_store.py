"""Draw a split's views with all cores and keep them on disk."""

from __future__ import annotations

import os
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from laser_tools.pico.scenes import Split
from laser_tools.pico.views import FIELDS, GRID, INPUT_PX, VIEW_KINDS, ViewStore, draw_views


def draw_store(folder: Path, split: Split, scenes: int) -> ViewStore:
    """Draw `scenes` scenes of `split` into `folder`, unless that many are already there."""
    done = folder / f"{split}_{scenes}.done"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shape = (scenes, len(VIEW_KINDS))
        open_map = np.lib.format.open_memmap
        pixels = open_map(
            folder / f"{split}_pixels.npy", "w+", np.uint8, (*shape, INPUT_PX, INPUT_PX, 3)
        )
        targets = open_map(
            folder / f"{split}_targets.npy", "w+", np.int8, (*shape, GRID, GRID, len(FIELDS))
        )
        with get_context("spawn").Pool(os.cpu_count()) as pool:
            drawn = pool.imap(partial(draw_views, split), range(scenes), chunksize=32)
            for i, (p, t) in enumerate(tqdm(drawn, total=scenes, desc=f"drawing {split}")):
                pixels[i], targets[i] = p, t
        pixels.flush()
        targets.flush()
        done.touch()
    return ViewStore.open(folder, split)
