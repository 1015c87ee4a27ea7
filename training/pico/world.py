"""The scenes of a split and what is asked about them, drawn (`store`) or only as data."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from laser_tools.evaluation.benchmarks.microscenes.scenes import (
    THINGS,
    Scene,
    Split,
    Thing,
    make_scene,
    one_changed,
)
from training.pico.build import build_tokenizer
from training.pico.cells import cell_targets, glyph_targets
from training.pico.diets import Diet
from training.pico.rows import Row, RowMaker
from training.pico.store import ViewStore
from training.pico.views import ViewSpec, to_be_compared, view_specs, what_is_seen

MOST_IMAGES, PICKED_FROM = 3, 6


@lru_cache(maxsize=20_000)
def scene_and_views(split: Split, index: int) -> tuple[Scene, list[ViewSpec]]:
    """A scene and the views that are drawn of it."""
    scene = make_scene(split, index)
    return scene, view_specs(scene)


def _twinned(rng: np.random.Generator, things: tuple[Thing, ...]) -> tuple[Thing, ...]:
    """Every second thing carries the label of the one before it, or one that is nearly that."""
    done = list(things)
    for i in range(1, len(done), 2):
        label = done[i - 1].label or "7"
        other = label if rng.random() < 0.5 else one_changed(rng, label)
        done[i - 1], done[i] = replace(done[i - 1], label=label), replace(done[i], label=other)
    return tuple(done)


class World:
    """Batches of rows about the first `scenes` scenes of a split."""

    def __init__(
        self, split: Split, scenes: int, diet: Diet, store: ViewStore | None = None
    ) -> None:
        self.split, self.count, self.store, self.diet = split, scenes, store, diet
        self.maker = RowMaker(build_tokenizer(), diet, split)
        self.recalled = World(split, scenes, diet.recalled) if diet.recalled else None

    def scene(self, index: int) -> tuple[Scene, list[ViewSpec]]:
        """Scene `index`, cut down to as many things as the diet allows."""
        scene, specs = scene_and_views(self.split, index)
        if len(scene.things) > self.diet.most_things or self.diet.most_things < THINGS[1]:
            kept = 2 + index % (self.diet.most_things - 1)
            scene = replace(scene, things=scene.things[:kept])
            specs = view_specs(scene)
        if self.diet.twins:
            scene = replace(scene, things=_twinned(np.random.default_rng(scene.seed), scene.things))
        return scene, specs

    def rows(self, rng: np.random.Generator, count: int) -> list[Row]:
        """Rows that all have as many images: a batch is padded to its longest."""
        images = 1 + int(rng.choice(3, p=self.diet.images))
        picked = [self._picked(rng, images) for _ in range(count)]
        return [self.maker.row(rng, index, *self.scene(index), images) for index in picked]

    def _picked(self, rng: np.random.Generator, images: int) -> int:
        """Any scene; for an image and two crops rather one with two labels to compare in them."""
        drawn = [int(index) for index in rng.integers(self.count, size=PICKED_FROM)]
        if images < MOST_IMAGES:
            return drawn[0]
        return next((at for at in drawn if to_be_compared(self.scene(at)[0])), drawn[0])

    def targets(self, row: Row) -> np.ndarray:
        """(views, GRID, GRID, PLANES) cell targets of a row."""
        scene, specs = self.scene(row.scene_id)
        return np.stack([cell_targets(what_is_seen(scene, specs[view])) for view in row.views])

    def glyphs(self, index: int, view: int) -> np.ndarray:
        """Character targets of one view, see `glyph_targets`."""
        scene, specs = self.scene(index)
        return glyph_targets(what_is_seen(scene, specs[view]))

    def pixels(self, rows: list[Row]) -> np.ndarray:
        """(all views of all rows, 96, 96, 3) uint8; needs a store."""
        assert self.store is not None
        return np.concatenate([self.store.pixels[row.scene_id, list(row.views)] for row in rows])

    def drawn_targets(self, rows: list[Row]) -> np.ndarray:
        """The cell targets kept with `pixels`, in the same order; needs a store."""
        assert self.store is not None
        return np.concatenate([self.store.targets[row.scene_id, list(row.views)] for row in rows])
