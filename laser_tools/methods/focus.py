"""FOCUS (arXiv 2506.21710): where cached values are like those of the thing asked about.

    things of the question -> "Is there a ... in the image?" -> similarity of values -> places
                           -> the same question about each place -> the surest one per thing

There is no public code. What the paper leaves open and what is not done here: `docs/peers.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field, field_validator
from torch import Tensor

from laser_tools.errors import InvalidRequest
from laser_tools.grounding.regions import Region
from laser_tools.grounding.similarity import (
    Proposals,
    proposed_places,
    pseudo_attention,
    relevance,
)
from laser_tools.methods.base import Method
from laser_tools.methods.localise import AttentionMaps, Looked
from laser_tools.methods.pipeline import CropMethod, from_view, goes_on
from laser_tools.methods.presence import existence, existence_prompts
from laser_tools.methods.targets import targets
from laser_tools.methods.views import positive_view
from laser_tools.options import CropOptions
from laser_tools.schema import Box, Evidence
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import (
    Encoded,
    Prompt,
    question_from_end,
    token_layout,
    visual_positions,
)
from laser_tools.vlm.reading import read
from laser_tools.vlm.reading.values import value_features

FIRST_LAYER_SHARE = 14 / 32
"""The paper's first layer over the depth, for LLaVA-1.5; it reads from there to the last."""


class FocusOptions(CropOptions):
    """Options of FOCUS. The defaults are the paper's for LLaVA-1.5, where it says."""

    first_layer: int | None = Field(default=None, ge=0)  # None = the paper's share of the depth
    n_steps: int = Field(default=8, ge=1, le=64)  # places asked about, for each thing
    n_anchors: int = Field(default=30, ge=1)
    anchor_distance: float = Field(default=2.0, ge=0.0)  # cells
    place_cells: tuple[int, int] = (3, 5)  # least and most side of a place
    place_level: float = Field(default=1.0, ge=0.0)  # open: its mean over the map's, to grow
    place_overlap: float = Field(default=0.3, ge=0.0, le=1.0)  # open: intersection over union
    direct_margin: float | None = None  # every question looks

    @field_validator("place_cells")
    @classmethod
    def _odd_sides(cls, sides: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= sides[0] <= sides[1] or not sides[0] % 2 == sides[1] % 2 == 1:
            raise ValueError("They must be two odd numbers, the larger one last.")
        return sides

    @property
    def proposals(self) -> Proposals:
        return Proposals(
            self.n_anchors,
            self.anchor_distance,
            self.place_cells,
            self.place_level,
            self.place_overlap,
        )


PAPER = FocusOptions(view="crop")
"""FOCUS as its paper has it for LLaVA-1.5, from the places alone. The default shows the image as
well, as the paper does for models that take several images, which all of ours do."""


@dataclass(frozen=True)
class FocusMaps(AttentionMaps):
    """The map of all things of a question, and the surest place of each."""

    places: tuple[Evidence, ...]


@dataclass(frozen=True)
class _Thing:
    """One thing of a question: its map, and the places proposed for it."""

    prompt: Prompt  # asks whether it is there
    attention: Tensor  # (L, h, w): mean over its tokens
    heat: Tensor  # (h, w), of sum 1
    map_box: Box
    places: list[tuple[Box, float]]  # with their share of the map's mass


def look(call: ModelCall, prompts: Sequence[Prompt], options: FocusOptions) -> Looked:
    """Maps of similar values, with the places whose crops the model says show the thing."""
    query = read(call, prompts, watch="last") if goes_on(call.vlm, options) else None
    names = [targets(prompt.question or "") for prompt in prompts]
    asked = [
        asking
        for prompt, several in zip(prompts, names, strict=True)
        for asking in existence_prompts(prompt.images, several, options)
    ]
    things = iter(_similar(call, asked, options))
    by_prompt = [[next(things) for _ in several] for several in names]
    surest = iter(_surest(call, [thing for several in by_prompt for thing in several], options))
    first = _first_layer(call.vlm, options)
    return Looked(
        query,
        [_maps(several, [next(surest) for _ in several], first) for several in by_prompt],
    )


def _first_layer(vlm: VLM, options: FocusOptions) -> int:
    n_layers: int = vlm.model.config.get_text_config().num_hidden_layers
    first = options.first_layer
    if first is None:
        return min(round(FIRST_LAYER_SHARE * n_layers), n_layers - 1)
    if first >= n_layers:
        raise InvalidRequest(f"The model has {n_layers} layers; there is no layer {first}.")
    return first


def _similar(call: ModelCall, asked: Sequence[Prompt], options: FocusOptions) -> list[_Thing]:
    """What the prompts' things look like to the model."""
    first, found = _first_layer(call.vlm, options), read(call, asked)
    values = value_features(call, found)
    with call.stage("attend"):
        return [
            _thing(call.vlm, found.encoded, row, features[first:], options)
            for row, features in enumerate(values)
        ]


def _thing(vlm: VLM, encoded: Encoded, row: int, values: Tensor, options: FocusOptions) -> _Thing:
    padding = encoded.length - values.shape[-2]
    visual = visual_positions(vlm, encoded)[row] - padding
    layout = token_layout(vlm, encoded, row, len(visual))
    target = _target_tokens(vlm, encoded, row, options) + values.shape[-2]
    cells = layout.place(visual)
    found = pseudo_attention(values, target.to(values.device), cells.flatten()).cpu()
    heat = relevance(found).view(cells.shape)
    places = proposed_places(heat, layout.box, options.proposals, options.n_steps)
    attention = found.mean(dim=1).view(-1, *cells.shape)
    return _Thing(encoded.prompts[row], attention, heat, layout.box, places)


def _target_tokens(vlm: VLM, encoded: Encoded, row: int, options: FocusOptions) -> Tensor:
    """(T,): offsets from the prompt's end."""
    before, _, after = options.existence.partition("{target}")
    question = encoded.prompts[row].question or ""
    part = len(before), len(question) - len(after)
    return torch.tensor(list(question_from_end(vlm, encoded.texts[row], question, part)))


def _surest(
    call: ModelCall, things: Sequence[_Thing], options: FocusOptions
) -> list[tuple[Box, float] | None]:
    """Per thing the place whose crop is the most likely to show it; None without any place."""
    crops = [
        Prompt((thing.prompt.images[0].crop(box),), thing.prompt.question)
        for thing in things
        for box, _ in thing.places
    ]
    sure = iter(existence(call, crops) if options.n_steps > 1 else [0.0] * len(crops))
    ranked = [[(next(sure), place) for place in thing.places] for thing in things]
    return [max(several, key=lambda pair: pair[0])[1] if several else None for several in ranked]


def _maps(
    things: Sequence[_Thing], surest: Sequence[tuple[Box, float] | None], first: int
) -> FocusMaps:
    """One map of all things of a question; the layer is the one that gives its highest value."""
    heat = torch.stack([thing.heat for thing in things]).mean(dim=0)
    attention = torch.stack([thing.attention for thing in things]).mean(dim=0)
    layers = tuple(range(first, first + len(attention)))
    places = dict(place for place in surest if place is not None)
    return FocusMaps(
        query=attention[:, None],
        no_query=torch.zeros_like(attention[:, None]),
        map_box=things[0].map_box,
        layers=layers,
        input_px=None,
        layer_idx=layers[int(attention.flatten(1)[:, int(heat.argmax())].argmax())],
        vaq=torch.empty(0),
        map=heat,
        places=tuple(
            Evidence(box=box, score=min(score, 1.0), region=n)
            for n, (box, score) in enumerate(places.items())
        ),
    )


def _places(maps: FocusMaps, _size: tuple[int, int], _options: FocusOptions) -> Region | None:
    """A crop per place."""
    if not maps.places:
        return None
    first, *further = (place.box for place in maps.places)
    return Region(maps.places, first, further=tuple(further))


METHOD = Method(
    CropMethod(look, _places, (from_view(positive_view),), lambda _: "focus").answer, FocusOptions
)
