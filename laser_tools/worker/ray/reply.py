"""What a replica answers: a result, or a refusal as data, and how its queue stands.

Refusals are data and no exceptions: Ray would wrap a raised one, log it with its text, and could
not rebuild those whose constructor takes something else than the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from laser_tools.engine.base import Result
from laser_tools.engine.queue import QueueNumbers
from laser_tools.errors import LaserError


@dataclass(frozen=True)
class Refusal:
    """A `LaserError` on its way between processes."""

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


@dataclass(frozen=True)
class Reply:
    """One request's outcome, and its replica's queue at that moment, for the metrics."""

    outcome: Result | Refusal
    replica: str
    numbers: QueueNumbers

    def result(self) -> Result:
        """Raises the LaserError that the replica refused with."""
        if isinstance(self.outcome, Refusal):
            raise self.outcome.error()
        return self.outcome
