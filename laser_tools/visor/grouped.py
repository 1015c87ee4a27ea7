"""A batch through all layers: rows that take the same configuration go together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from laser_tools.errors import InvalidRequest
from laser_tools.visor.cache import Group, Sight, VisorCache, merge
from laser_tools.visor.choice import Choice
from laser_tools.visor.config import Configuration
from laser_tools.visor.walk import Stack, Stream, walk


def through(stack: Stack, stream: Stream, choice: Choice) -> tuple[Tensor, Sequence[Configuration]]:
    """The states (B, S, d) after the last layer, and the configuration of every row."""
    parting = choice.parting
    if stream.columns.all_text or parting is None:
        done = walk(stack, stream, range(len(stack.layers)), choice.options[0])
        chosen: Sequence[Configuration] = [choice.options[0]] * len(stream.full)
        hidden = done.hidden
    else:
        _refuse_past(stream.cache)
        stream = walk(stack, stream, range(parting), choice.options[0])
        chosen = choice.of_rows(stream)
        hidden = _parted(stack, stream, parting, chosen)
    if stream.cache is not None:
        _note(stack, stream, chosen)
    return hidden, chosen


def choices(stack: Stack, stream: Stream, choice: Choice) -> Sequence[Configuration]:
    """The configuration that every row would take; only the layers before that are gone through."""
    if choice.parting is None:
        return [choice.options[0]] * len(stream.full)
    return choice.of_rows(walk(stack, stream, range(choice.parting), choice.options[0]))


def _parted(stack: Stack, stream: Stream, parting: int, chosen: Sequence[Configuration]) -> Tensor:
    """On from layer `parting`, one configuration after the other."""
    rest = range(parting, len(stack.layers))
    groups, found = [], []
    for active in sorted(set(chosen)):
        index = [row for row, its in enumerate(chosen) if its == active]
        rows = torch.tensor(index, device=stream.full.device)
        cache = None if stream.cache is None else VisorCache(len(stream.cache.layers))
        part = walk(stack, stream.rows(rows, cache), rest, active)
        found.append((rows, part.hidden))
        if cache is not None:
            cache.sights = (Sight(active, stack.seen_in(active)),) * len(rows)
            groups.append(Group(rows, cache))
    if stream.cache is not None:
        merge(stream.cache, groups, stream.columns, stack.slots(parting))
    order = torch.cat([rows for rows, _ in found]).argsort()
    return torch.cat([hidden for _, hidden in found])[order]


def _note(stack: Stack, stream: Stream, chosen: Sequence[Configuration]) -> None:
    """Write down in the cache what has been read."""
    cache = stream.cache
    if cache is None:
        return
    cache.extend(stream.columns)
    if not stream.columns.all_text:
        cache.sights = tuple(Sight(active, stack.seen_in(active)) for active in chosen)


def _refuse_past(cache: VisorCache | None) -> None:
    if cache is not None and cache.columns is not None:
        raise InvalidRequest(
            "Rows can take different configurations only in their first pass: give all images "
            "there, or one configuration for all rows."
        )
