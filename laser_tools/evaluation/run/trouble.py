"""The part of an answer that a line keeps, or of the error in its place."""

from __future__ import annotations

from laser_tools.errors import LaserError
from laser_tools.schema import Frozen, GroundedAnswer


class Trouble(Frozen):
    """Why there is no answer."""

    code: str
    text: str

    @classmethod
    def of(cls, error: LaserError) -> Trouble:
        return cls(code=error.code, text=error.public_text)


def without_map(answer: GroundedAnswer) -> GroundedAnswer:
    """The answer with an empty map, which is most of its size."""
    where = answer.localisation
    if where is None:
        return answer
    return answer.model_copy(update={"localisation": where.model_copy(update={"map": ()})})
