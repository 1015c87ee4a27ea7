"""Answers told piece by piece while they are decoded."""

from __future__ import annotations

import math
from itertools import takewhile

from laser_tools.progress import Listener, TokenEvent

ALWAYS, NEVER = -math.inf, math.inf
"""Margins from which an answer is final: in any case, in none."""
HALF_A_CHARACTER = "\ufffd"  # whose other bytes are in the next token


class Teller:
    """Tells a listener the text of one answer as it grows, once it is the final one."""

    def __init__(self, listener: Listener, final_from: float) -> None:
        """`final_from`: the least margin (logits) of the first decided token of a final answer."""
        self._listener = listener
        self._final_from = final_from
        self._final: bool | None = True if final_from == ALWAYS else None  # None = not known yet
        self._told = ""

    @property
    def awaits_margin(self) -> bool:
        """True until the first decided token has told whether the answer is final."""
        return self._final is None

    def decide(self, margin: float) -> None:
        """Take the margin of the first decided token."""
        self._final = margin >= self._final_from

    def tell(self, text: str) -> None:
        """Tell what is new in `text`, the answer so far."""
        if not self._final or text == self._told or text.endswith(HALF_A_CHARACTER):
            return
        start = _n_shared(self._told, text)
        self._told = text
        self._listener(TokenEvent(token=text[start:], start=start))


def _n_shared(a: str, b: str) -> int:
    """Characters that both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
