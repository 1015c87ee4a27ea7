"""Conversations about images in LLaVA's format, checked whole before anything is trained.

[{"image": "a.jpg", "conversations": [
    {"from": "human", "value": "<image>\\nWhat is it?"}, {"from": "gpt", "value": "A star."}]}]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from laser_tools.errors import InvalidRequest

PLACE = "<image>"
FORMAT = (
    'An entry is {"image": "a.jpg", "conversations": [{"from": "human", "value": '
    '"<image>\\nWhat is it?"}, {"from": "gpt", "value": "A star."}]}.'
)


class _Turn(BaseModel):
    model_config = ConfigDict(extra="ignore")

    speaker: Literal["human", "gpt"] = Field(alias="from")
    value: str = Field(pattern=r"\S")


class _Entry(BaseModel):
    """One conversation of the file; a picture may be named alone or in a list."""

    model_config = ConfigDict(extra="ignore")

    image: str | list[str] = Field(default_factory=list)
    conversations: list[_Turn] = Field(min_length=2)

    @property
    def names(self) -> list[str]:
        return [self.image] if isinstance(self.image, str) else self.image


@dataclass(frozen=True)
class Example:
    """One answer, and all that was said and shown before it."""

    images: tuple[Path, ...]
    said: tuple[str, ...]  # question, answer, ..., question; images stand where PLACE is
    answer: str


def read_conversations(file: Path, images: Path) -> list[Example]:
    """An example for every answer in `file`; paths are below the folder `images`.

    Conversations without an image are left out. Raises InvalidRequest for a file of another format,
    and for images that are not there.
    """
    entries = [_entry(item, number) for number, item in enumerate(_items(file), start=1)]
    shown = [entry for entry in entries if entry.names]
    if not shown:
        raise InvalidRequest(f"No entry of {file.name} has an image: there is nothing to train on.")
    _refuse_missing([name for entry in shown for name in entry.names], images)
    return [example for entry in shown for example in _examples(entry, images)]


def _items(file: Path) -> list[object]:
    if not file.is_file():
        raise InvalidRequest(f"There is no file {file}. Give the conversations with --data.")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise InvalidRequest(f"{file.name} is not JSON. It must hold a list. {FORMAT}") from None
    if not isinstance(found, list) or not found:
        raise InvalidRequest(f"{file.name} must hold a list of conversations. {FORMAT}")
    return found


def _entry(item: object, number: int) -> _Entry:
    """Raises InvalidRequest, naming the entry, if it is not in the format."""
    try:
        entry = _Entry.model_validate(item)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the entry"
        raise InvalidRequest(f"Entry {number}, {where}: {first['msg']}. {FORMAT}") from None
    speakers = [turn.speaker for turn in entry.conversations]
    if speakers != ["human", "gpt"] * (len(speakers) // 2):
        raise InvalidRequest(f"Entry {number}: human and gpt must take turns, gpt last. {FORMAT}")
    places = [turn.value.count(PLACE) for turn in entry.conversations]
    if any(places[1::2]) or sum(places) != len(entry.names):
        raise InvalidRequest(
            f"Entry {number} names {len(entry.names)} images, and its questions have "
            f"{sum(places[::2])} places for them ({PLACE}). Write one for each image."
        )
    return entry


def _refuse_missing(names: Sequence[str], folder: Path) -> None:
    missing = [name for name in dict.fromkeys(names) if not (folder / name).is_file()]
    if missing:
        raise InvalidRequest(
            f"{len(missing)} of {len(set(names))} images are not in {folder}, the first is "
            f"{missing[0]}. Name their folder with --images, or take these entries out."
        )


def _examples(entry: _Entry, folder: Path) -> list[Example]:
    values = [turn.value for turn in entry.conversations]
    found = []
    for end in range(1, len(values), 2):
        n_images = sum(value.count(PLACE) for value in values[:end])
        paths = tuple(folder / name for name in entry.names[:n_images])
        if paths:
            found.append(Example(paths, tuple(values[:end]), values[end]))
    return found
