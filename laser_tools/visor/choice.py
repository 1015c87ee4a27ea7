"""What a call asks for: a configuration for all rows, one for each, or the router's choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from laser_tools.errors import InvalidRequest
from laser_tools.visor.config import Configuration, VisorConfig, chosen
from laser_tools.visor.router import Router
from laser_tools.visor.walk import Stream

Asked = Literal["route"] | Configuration | Sequence[Configuration] | None
"""A configuration for all rows, one for each row, the router's choice, or None: that of what is in
the cache, or the config's."""


@dataclass(frozen=True)
class Choice:
    """Configurations that rows may take, and which each takes, once the stream is where they part.

    The layers before are the same for all of them, and are gone through once.
    """

    options: Sequence[Configuration]
    of_rows: Callable[[Stream], Sequence[Configuration]]

    @property
    def parting(self) -> int | None:
        """The first layer in which the options differ; None if they are one."""
        common = set.intersection(*map(set, self.options))
        differing = set.union(*map(set, self.options)) - common
        return min(differing, default=None)


def choice_of(asked: Asked, config: VisorConfig, router: Router | None, stream: Stream) -> Choice:
    """Raises InvalidRequest for what the model cannot do."""
    wanted: object = asked
    if wanted is None and stream.cache is not None and stream.cache.sights:
        wanted = [sight.configuration for sight in stream.cache.sights]
    if wanted is None:
        wanted = config.active
    if wanted == "route":
        if router is None:
            raise InvalidRequest(
                "The model has no router. Name a configuration (self_layers), or train one."
            )
        return Choice(router.configurations, router.of_rows)
    if isinstance(wanted, list | tuple) and any(isinstance(row, list | tuple) for row in wanted):
        return _by_row([chosen(config, row) for row in wanted], len(stream.full))
    return Choice([chosen(config, wanted)], lambda _: [])


def _by_row(rows: list[Configuration], n_rows: int) -> Choice:
    if len(rows) != n_rows:
        raise InvalidRequest(f"There are {n_rows} rows and {len(rows)} configurations.")
    return Choice(rows, lambda _: rows)
