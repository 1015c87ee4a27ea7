"""Errors on their way between processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from laser_tools.errors import LaserError


@dataclass(frozen=True)
class Refusal:
    """A `LaserError` as data.

    Pickle could not rebuild those whose constructor takes something else than the text.
    """

    kind: type[LaserError]
    fields: dict[str, Any]  # public_text, and what else it was born with, such as retry_after_s

    @classmethod
    def of(cls, error: LaserError) -> Refusal:
        return cls(type(error), dict(vars(error)))

    def error(self) -> LaserError:
        """The same error again."""
        error = self.kind.as_told(self.fields["public_text"])
        vars(error).update(self.fields)
        return error
