"""Prompts about the same images as branches of one row: the images stand there once.

A row is [prefilled images | new images | branch | branch ...], each part padded left to its longest
in the batch. A branch is a prompt's text behind its images; it sees these and itself, and no other
branch. So a question, the prompt without it, and the stream that must not see the evidence take
one pass together, and none of them has a copy of the images' keys and values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from laser_tools.vlm.rows import ImagePart, Row

NOBODY, ALL = -1, 0  # who owns a column: padding, or all branches; branch n owns those of n + 1
Hidden = Mapping[int, Tensor]
"""Visual tokens, True (N,), that a branch must not see, by the index of its prompt."""
Span = tuple[int, int, int]
"""A row, and its columns from the second number up to the third."""


@dataclass(frozen=True)
class Trunk:
    """One row of a pass: prompts (indices) that differ in their text behind the images alone."""

    row: Row  # of any of its prompts
    branches: tuple[int, ...]
    n_held: int  # how many of its images are prefilled already

    @property
    def new_image(self) -> ImagePart | None:
        """Its last image, if it is to be made in this pass; then the only such one."""
        return None if self.n_held == len(self.row.images) else self.row.images[-1]


@dataclass(frozen=True)
class Packed:
    """Tokens of a pass and who may see whom. Columns: T = P prefilled + S to run."""

    trunks: tuple[Trunk, ...]
    rows: tuple[Row, ...]  # by prompt
    hidden: Hidden
    pad_id: int
    image_token_id: int

    @cached_property
    def places(self) -> dict[int, tuple[int, int]]:
        """Per prompt, the row and the branch in it that it is."""
        return {
            prompt: (at, branch)
            for at, trunk in enumerate(self.trunks)
            for branch, prompt in enumerate(trunk.branches)
        }

    @property
    def n_branches(self) -> int:
        """The most that a row has."""
        return max(len(trunk.branches) for trunk in self.trunks)

    @cached_property
    def input_ids(self) -> Tensor:
        """(B, T)."""
        return self._laid_out([row.input_ids for row in self.rows], self.pad_id)

    @cached_property
    def position_ids(self) -> Tensor:
        """(B, T), or (3, B, T) for M-RoPE."""
        found = self._laid_out([row.position_ids for row in self.rows], 0)
        return found if found.ndim == 2 else found.movedim(-1, 0)

    @cached_property
    def owner(self) -> Tensor:
        """(B, T): NOBODY, ALL, or the branch + 1."""
        parts = zip(*self._parts([row.input_ids for row in self.rows]), strict=True)
        marks = (
            [torch.full_like(one, max(at - 1, ALL)) for one in part]
            for at, part in enumerate(parts)
        )
        return torch.cat([padded_left(part, NOBODY) for part in marks], dim=1)

    @property
    def past_length(self) -> int:
        """P."""
        return max(trunk.row.end(trunk.n_held) for trunk in self.trunks)

    @cached_property
    def behind(self) -> tuple[int, ...]:
        """Per branch, how many columns come after its last."""
        parts = zip(*self._parts([row.input_ids for row in self.rows]), strict=True)
        widths = [max(len(one) for one in part) for part in parts]
        return tuple(sum(widths[at + 1 :]) for at in range(2, len(widths)))

    @property
    def images_end(self) -> int:
        """The column behind the last image, the same in all rows."""
        return self.past_length + max(
            trunk.row.end() - trunk.row.end(trunk.n_held) for trunk in self.trunks
        )

    def span(self, prompt: int) -> Span:
        """Where a prompt's text behind its images stands."""
        at, branch = self.places[prompt]
        stop = self.owner.shape[1] - self.behind[branch]
        row = self.rows[prompt]
        return at, stop - len(row.input_ids) + row.end(), stop

    def visual(self, at: int) -> Tensor:
        """(N,): the columns of a row's visual tokens."""
        shared = self.owner[at] == ALL
        return (shared & (self.input_ids[at] == self.image_token_id)).nonzero()[:, 0]

    def attention_mask(self, dtype: torch.dtype) -> Tensor:
        """(B, T) where columns say it all; else who sees whom, (B, 1, S, T).

        The latter is added to the scores, which all implementations of attention understand but
        those that take no such mask at all.
        """
        valid = self.owner != NOBODY
        if self.n_branches <= 1 and not self.hidden:
            return valid.long()
        unseen = ~self._seen(valid)
        return torch.zeros_like(unseen, dtype=dtype).masked_fill_(unseen, torch.finfo(dtype).min)

    def _seen(self, valid: Tensor) -> Tensor:
        """True (B, 1, S, T) where a column that runs sees another."""
        past, total = self.past_length, self.owner.shape[1]
        columns = torch.arange(total, device=valid.device)
        me, other = self.owner[:, past:, None], self.owner[:, None, :]
        earlier = columns[past:, None] >= columns
        seen = valid[:, None, :] & earlier & ((other == ALL) | (other == me))
        for prompt, hidden in self.hidden.items():
            at, branch = self.places[prompt]
            mine = (self.owner[at, past:] == branch + 1).nonzero()
            seen[at, mine, self.visual(at)[hidden.to(seen.device)]] = False
        # Padding sees itself: a row of nothing would be NaN, and get through to the others.
        return (seen | (columns[past:, None] == columns))[:, None]

    def _laid_out(self, values: Sequence[Tensor], pad: int) -> Tensor:
        """(B, T, ...) of something that each prompt has per token."""
        return torch.cat(
            [padded_left(part, pad) for part in zip(*self._parts(values), strict=True)], dim=1
        )

    def _parts(self, values: Sequence[Tensor]) -> list[list[Tensor]]:
        """Per row: prefilled images, new ones, then its branches, empty ones at the end."""
        found = []
        for trunk in self.trunks:
            held, end = trunk.row.end(trunk.n_held), trunk.row.end()
            whole = values[trunk.branches[0]]
            texts = [values[prompt][end:] for prompt in trunk.branches]
            empty = [whole[:0]] * (self.n_branches - len(texts))
            found.append([whole[:held], whole[held:end], *texts, *empty])
        return found


def padded_left(rows: Sequence[Tensor], pad: int = 0) -> Tensor:
    """(B, S, ...): each row ends where the longest does."""
    return pad_sequence(list(rows), batch_first=True, padding_value=pad, padding_side="left")
