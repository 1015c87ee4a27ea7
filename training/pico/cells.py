"""What every cell of the 12x12 grid over a view holds, as numbers: what the tower is taught."""

from __future__ import annotations

import numpy as np

from laser_tools.evaluation.benchmarks.microscenes.asking import View
from laser_tools.evaluation.benchmarks.microscenes.scenes import Thing
from laser_tools.evaluation.benchmarks.microscenes.things import (
    CAP_HEIGHT,
    CHAR_ADVANCE,
    label_centre,
)
from laser_tools.evaluation.benchmarks.microscenes.words import COLOURS, LABEL_CHARS, SHAPES
from training.pico.build import GRID, INPUT_PX

MAX_LABEL = 3
FINE_GRID = 24  # the tower's features at stride 4: fine enough for one character a cell
IGNORE = -1
FIELDS = ("colour", "shape", "char1", "char2", "char3")  # of a cell's thing; 0 means none
FIELD_SIZES = (len(COLOURS) + 1, len(SHAPES) + 1, *(len(LABEL_CHARS) + 1,) * MAX_LABEL)
CHARS = slice(2, 5)
LEGIBLE = 5  # the index of a plane of 0 and 1 behind the fields: is the label worth guessing?
PLANES = len(FIELDS) + 1
MIN_CAP_PX, MIN_ADVANCE_PX = 1.6, 1.5  # smaller labels are not asked of the tower
MIN_GLYPH_PX = 3.2  # narrower characters are not asked for one by one

_COLOUR_IDS = {word: i + 1 for i, word in enumerate(COLOURS)}
_SHAPE_IDS = {word: i + 1 for i, word in enumerate(SHAPES)}
_CHAR_IDS = {char: i + 1 for i, char in enumerate(LABEL_CHARS)}


def cell_targets(view: View) -> np.ndarray:
    """(GRID, GRID, PLANES) int8: 0 for background, IGNORE where a cell is half of a thing.

    A thing owns the cells whose centre is well inside it; labels of cut things are not asked for.
    """
    targets = np.zeros((GRID, GRID, PLANES), dtype=np.int8)
    cell = np.array(view.size) / GRID
    centres = (np.arange(GRID) + 0.5)[:, None] * cell
    for thing in (*view.cut, *view.things):
        dx, dy = abs(centres[:, 0] - thing.x), abs(centres[:, 1] - thing.y)
        touched = np.outer(dy < thing.radius + cell[1] / 2, dx < thing.radius + cell[0] / 2)
        targets[touched & (targets[..., 0] <= 0)] = IGNORE
        core = 0.62 * thing.radius
        owned = np.outer(dy < max(core, cell[1] / 2), dx < max(core, cell[0] / 2))
        targets[owned] = _codes(thing, view)
    return targets


def _codes(thing: Thing, view: View) -> list[int]:
    name = [_COLOUR_IDS[thing.colour], _SHAPE_IDS[thing.shape]]
    if thing in view.cut:
        return [*name, IGNORE, IGNORE, IGNORE, 0]
    size = thing.label_px * INPUT_PX / np.array(view.size)
    legible = CHAR_ADVANCE * size[0] >= MIN_ADVANCE_PX and CAP_HEIGHT * size[1] >= MIN_CAP_PX
    return [*name, *characters(thing.label), int(legible or not thing.label)]


def characters(label: str) -> list[int]:
    """MAX_LABEL codes of a label's characters, 0 for none."""
    return [_CHAR_IDS[char] for char in label] + [0] * (MAX_LABEL - len(label))


def glyph_targets(view: View) -> np.ndarray:
    """(FINE_GRID, FINE_GRID) int8: the character at each fine cell, 0 for none; IGNORE where
    characters are too small to be told apart."""
    targets = np.zeros((FINE_GRID, FINE_GRID), dtype=np.int8)
    centres = (np.arange(FINE_GRID) + 0.5)[:, None] * (np.array(view.size) / FINE_GRID)
    for thing in (*view.cut, *view.things):
        _letter(targets, centres, thing, view)
    return targets


def _letter(targets: np.ndarray, centres: np.ndarray, thing: Thing, view: View) -> None:
    """Mark the fine cells of one thing's characters, in place."""
    pixel = np.array(view.size) / INPUT_PX  # scene pixels per view pixel
    advance, (x, y) = CHAR_ADVANCE * thing.label_px, label_centre(thing)
    near_y = abs(centres[:, 1] - y) < max(0.5 * CAP_HEIGHT * thing.label_px, 2 * pixel[1])
    for i, char in enumerate(thing.label):
        at = x + (i - (len(thing.label) - 1) / 2) * advance
        near_x = abs(centres[:, 0] - at) < max(0.5 * advance, pixel[0])
        code = _CHAR_IDS[char] if advance / pixel[0] >= MIN_GLYPH_PX else IGNORE
        targets[np.outer(near_y, near_x)] = code
