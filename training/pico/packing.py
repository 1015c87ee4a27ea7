"""Rows -> tensors. Packing many questions behind one image pays for the image's tokens once.

[image | image | question 1 | question 2 | ...]: mask and positions make each question the only one
after the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from training.pico.build import GRID
from training.pico.rows import KINDS, NO_LABELS, Row, RowMaker

CELLS = GRID * GRID
BACKGROUND_SHARE = 0.02  # of the background cells of a symbolic scene
SPARSE_BACKGROUND = 0.25  # and of a drawn one, in a sparse batch
LABELS = tuple(f"character {i}" for i in range(len(NO_LABELS)))
_FILLS = {
    "ids": 0,
    "positions": 0,
    "segment": -1,
    "blind": 0,
    "slots": -1,
    "target": -1,
    "kind": 0,
    "named": -1,
    "asked": -1,
    **dict.fromkeys(LABELS, -1),
}


@dataclass(frozen=True)
class Packed:
    """Tensors of a batch. `where` are flat (row, position) indices whose next token is `target`;
    `slots` (B, S) is the index of an image cell in the batch's flat list of cells, or -1."""

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    mask: torch.Tensor  # (B, 1, S, S) bfloat16, added to scores: 0 where attention is allowed
    slots: torch.Tensor
    where: torch.Tensor
    target: torch.Tensor
    kind: torch.Tensor  # index into KINDS of the question that each target belongs to
    question: torch.Tensor  # and that question's number in the batch
    places: torch.Tensor  # (targets, 2): its `Segment.places`
    labels: torch.Tensor  # (targets, 2 * MAX_LABEL): its `Segment.labels`

    def to(self, device: torch.device) -> Packed:
        return Packed(**{name: value.to(device) for name, value in vars(self).items()})


def prefix_ids(maker: RowMaker, images: int) -> list[int]:
    """The prompt up to the end of its images."""
    return maker.ids("<s>user: " + "<image>" * (CELLS * images))


def pack(maker: RowMaker, rows: Sequence[Row], keep: Sequence[np.ndarray] | None = None) -> Packed:
    """Lay rows out. `keep[i]` (images*CELLS,) bool drops image cells but keeps their positions."""
    parts = [_layout(maker, row, None if keep is None else keep[i]) for i, row in enumerate(rows)]
    length = max(len(part["ids"]) for part in parts)
    stacked = {key: np.full((len(rows), length), fill) for key, fill in _FILLS.items()}
    for i, part in enumerate(parts):
        for key in _FILLS:
            stacked[key][i, : len(part[key])] = part[key]
    _number_cells(stacked["slots"], rows)
    t = {key: torch.from_numpy(value) for key, value in stacked.items()}
    row_at, column_at = torch.nonzero(t["target"] >= 0, as_tuple=True)
    where = row_at * length + column_at
    target, kind, segment, named, asked = (
        t[key].flatten()[where] for key in ("target", "kind", "segment", "named", "asked")
    )
    question = row_at * (int(t["segment"].max()) + 1) + segment
    labels = torch.stack([t[key].flatten()[where] for key in LABELS], 1)
    return Packed(
        t["ids"],
        t["positions"],
        _mask(t),
        t["slots"],
        where,
        target,
        kind,
        question,
        torch.stack([named, asked], 1),
        labels,
    )


def _layout(maker: RowMaker, row: Row, keep: np.ndarray | None) -> dict[str, np.ndarray]:
    """One row's columns, from the images to the last answer."""
    prefix = np.array(prefix_ids(maker, len(row.views)))
    is_cell = prefix == maker.ids("<image>")[0]
    slots = np.full(len(prefix), -1)
    slots[is_cell] = np.arange(CELLS * len(row.views))
    kept = np.ones(len(prefix), bool)
    if keep is not None:
        kept[is_cell] = keep
    start = {"ids": prefix, "positions": np.arange(len(prefix)), "slots": slots}
    pieces: list[dict[str, Any]] = [{key: column[kept] for key, column in start.items()}]
    pieces[0]["segment"] = 0
    for number, part in enumerate(row.segments, start=1):
        tokens = np.array(part.prompt_ids + part.answer_ids[:-1])
        last = len(part.prompt_ids) - 1
        pieces.append({
            "ids": tokens,
            "positions": len(prefix) + np.arange(len(tokens)),
            "segment": number,
            "blind": (np.arange(len(tokens)) < last) * int(part.blind),
            "target": np.array([-1] * last + part.answer_ids),
            "kind": KINDS.index(part.kind),
            "named": part.places[0],
            "asked": part.places[1],
            **dict(zip(LABELS, part.labels, strict=True)),
        })  # fmt: skip
    return {
        key: np.concatenate([
            np.broadcast_to(piece.get(key, fill), len(piece["ids"])) for piece in pieces
        ])
        for key, fill in _FILLS.items()
    }  # fmt: skip


def _number_cells(slots: np.ndarray, rows: Sequence[Row]) -> None:
    """Turn cell numbers within a row into numbers within the batch, in place."""
    start = 0
    for i, row in enumerate(rows):
        slots[i][slots[i] >= 0] += start
        start += CELLS * len(row.views)


def _mask(t: dict[str, torch.Tensor]) -> torch.Tensor:
    segment, is_image = t["segment"], t["slots"] >= 0
    length = segment.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = (segment[:, None, :] == segment[:, :, None]) | (segment[:, None, :] == 0)
    unseen = (t["blind"][:, :, None] == 1) & is_image[:, None, :]
    allowed = causal & same & ~unseen
    allowed |= torch.eye(length, dtype=torch.bool)  # padding attends to itself: no empty rows
    lowest = torch.finfo(torch.bfloat16).min
    return torch.zeros(allowed.shape, dtype=torch.bfloat16).masked_fill(~allowed, lowest)[:, None]


def symbolic_cells(rng: np.random.Generator, targets: np.ndarray, thin: bool) -> np.ndarray:
    """Cells worth a token in a symbolic scene, (views*CELLS,) bool: those of things (of a `thin`
    one only one cell a thing), and a few of the background."""
    colour = targets[..., 0].reshape(-1)
    kept: np.ndarray = colour > 0
    if thin:
        kept = np.concatenate([_one_each(rng, view) for view in targets])
    kept |= (colour == 0) & (rng.random(len(colour)) < BACKGROUND_SHARE)
    return kept


def sparse_cells(
    rng: np.random.Generator, rows: Sequence[Row], targets: np.ndarray
) -> list[np.ndarray]:
    """Per row (views*CELLS,) bool: the cells that a thing touches, and some of the background.

    `targets` (all views of all rows, GRID, GRID, PLANES).
    """
    background = targets[..., 0] == 0
    kept = ~background | (rng.random(background.shape) < SPARSE_BACKGROUND)
    ends = np.cumsum([len(row.views) for row in rows])[:-1]
    return [views.reshape(-1) for views in np.split(kept, ends)]


def _one_each(rng: np.random.Generator, targets: np.ndarray) -> np.ndarray:
    """One random cell of every thing of a view; names are unique, so codes tell things apart."""
    names = targets[..., 0].reshape(-1).astype(int) * 100 + targets[..., 1].reshape(-1)
    order = rng.permutation(len(names))
    _, first = np.unique(names[order], return_index=True)
    kept = np.zeros(len(names), bool)
    kept[order[first]] = True
    return kept & (targets[..., 0].reshape(-1) > 0)
