"""Text among visual tokens: where each stands, and how one is taken out of the other and put back.

columns   0    1    2    3    4    5    6    7
full      <s>  user I    I    I    what is   it     all tokens
text      <s>  user           what is   it          padded left to the batch's most
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Columns:
    """The columns of a pass. A row with less text than others has text places that hold none."""

    visual: Tensor  # (B, S), True for visual tokens
    text_at: Tensor  # (B, T): the columns of text tokens, in ascending order
    is_text: Tensor  # (B, T): False where `text_at` names a visual token, for want of text
    ragged: bool  # whether there is such a place

    @classmethod
    def of(cls, visual: Tensor) -> Columns:
        """From (B, S): True for visual tokens. Padding counts as text.

        T is at least 1, as no layer takes a pass without a token.
        """
        counts = (~visual).sum(dim=1).tolist()
        most = max(*counts, 1)
        order = (~visual).to(torch.uint8).argsort(dim=1, stable=True)  # visual tokens first
        text_at = order[:, visual.shape[1] - most :]
        return cls(visual, text_at, ~visual.gather(1, text_at), min(counts) < most)

    @property
    def all_text(self) -> bool:
        """True if there is nothing to see in these columns."""
        return self.text_at.shape == self.visual.shape and not self.ragged

    def rows(self, index: Tensor) -> Columns:
        """Of some rows of the batch; T stays."""
        return replace(
            self,
            visual=self.visual[index],
            text_at=self.text_at[index],
            is_text=self.is_text[index],
        )

    def followed_by(self, later: Columns) -> Columns:
        """These columns and those of the next pass."""
        return Columns(
            torch.cat([self.visual, later.visual], dim=1),
            torch.cat([self.text_at, later.text_at + self.visual.shape[1]], dim=1),
            torch.cat([self.is_text, later.is_text], dim=1),
            self.ragged or later.ragged,
        )

    def text(self, full: Tensor, dim: int = 1) -> Tensor:
        """`full`, with S columns along `dim`, at the text's places alone."""
        return full if self.all_text else full.gather(dim, _spread(self.text_at, full, dim))

    def put(self, full: Tensor, text: Tensor, dim: int = 1) -> Tensor:
        """`full` with `text` at its places; neither is changed."""
        if self.all_text:
            return text
        if self.ragged:
            text = torch.where(_spread(self.is_text, text, dim), text, self.text(full, dim))
        return full.scatter(dim, _spread(self.text_at, text, dim), text)


def _spread(values: Tensor, like: Tensor, dim: int) -> Tensor:
    """Values (B, T) -> the shape of `like`, but T along `dim`."""
    shape, sizes = [len(values), *(1,) * (like.ndim - 1)], list(like.shape)
    shape[dim] = sizes[dim] = values.shape[1]
    return values.view(shape).expand(sizes)
