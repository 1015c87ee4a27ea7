"""Fit a localiser: what each layer's map is worth, by ridge regression on boxed items.

A visual token is a sample: its value in every layer's map, against whether its cell lies in a true
box. Two thirds of the items are fitted on; the rest show how the rules for `layer` do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from laser_tools.errors import InvalidRequest, MissingExtra
from laser_tools.evaluation.arms import BATCH_SIZE
from laser_tools.evaluation.batches import batches
from laser_tools.evaluation.benchmarks.base import Item
from laser_tools.evaluation.metrics import box_hit, map_share
from laser_tools.grounding.layers import choose_layer, largest_map, weighted_map
from laser_tools.grounding.localiser import FittedLocaliser, LookScore
from laser_tools.grounding.regions import covered_cells, find_region
from laser_tools.methods.localise import all_maps, contrast, localise
from laser_tools.options import LaserOptions, LayerRule, LookOptions, RegionOptions
from laser_tools.schema import Box
from laser_tools.vlm.load import LOCALISER
from laser_tools.vlm.model import VLM

MIN_ITEMS = 30
RIDGE = 1.0  # scikit-learn's alpha; there are thousands of tokens, so that it hardly shrinks


@dataclass(frozen=True)
class BoxedLook:
    """What each layer showed of one item, and where its truth lies."""

    maps: Tensor  # (L, N)
    vaq: Tensor  # (L,)
    grid_hw: tuple[int, int]
    map_box: Box
    boxes: tuple[Box, ...]
    image_size: tuple[int, int]

    @property
    def samples(self) -> Tensor:
        """(N, L): each token in every layer's map, the item's largest value being 1."""
        tiny = torch.finfo(self.maps.dtype).tiny
        return self.maps.T / self.maps.max().clamp_min(tiny)

    @property
    def inside(self) -> Tensor:
        """(N,): whether the token's cell lies in a true box."""
        return covered_cells(self.boxes, self.grid_hw, self.map_box).flatten()


def look_at(
    vlm: VLM,
    items: Iterable[Item],
    n: int,
    options: LaserOptions,
    progress: Callable[[int], object] = lambda done: None,
) -> list[BoxedLook]:
    """The first `n` of the items that have boxes, as every layer shows them."""
    by_vaq = options.model_copy(update={"layer": "vaq"})
    looks: list[BoxedLook] = []
    for batch in batches(islice((item for item in items if item.evidence), n), BATCH_SIZE):
        looks += _look(vlm, batch, by_vaq)
        progress(len(batch))
    return looks


def _look(vlm: VLM, items: Sequence[Item], options: LaserOptions) -> list[BoxedLook]:
    images, questions = [item.image() for item in items], [item.question for item in items]
    found = localise(vlm, images, questions, options)
    return [
        BoxedLook(
            maps=all_maps(contrast(maps, options), options),
            vaq=maps.vaq,
            grid_hw=(maps.map.shape[0], maps.map.shape[1]),
            map_box=maps.map_box,
            boxes=item.evidence,
            image_size=image.size,
        )
        for item, image, maps in zip(items, images, found, strict=True)
    ]


def fit(
    looks: Sequence[BoxedLook], model_hash: str, split: str, options: LaserOptions
) -> FittedLocaliser:
    """The localiser of `model_hash` from what `look_at` found under `options`.

    Raises InvalidRequest for too few items; MissingExtra without scikit-learn.
    """
    if len(looks) < MIN_ITEMS:
        raise InvalidRequest(
            f"A localiser needs at least {MIN_ITEMS} items with boxes; there are {len(looks)}."
        )
    fitted = [look for i, look in enumerate(looks) if i % 3 < 2]
    unseen = [look for i, look in enumerate(looks) if i % 3 == 2]
    scale, weights = ridge(fitted)
    localiser = FittedLocaliser(
        model_hash=model_hash,
        n=len(fitted),
        split=split,
        options=LookOptions.model_validate(
            options.model_dump(include=set(LookOptions.model_fields))
        ),
        scale=scale,
        weights=weights,
        n_unseen=len(unseen),
    )
    rules = rules_with(localiser)
    scores = {name: score(unseen, rule, options) for name, rule in rules.items()}
    return localiser.model_copy(update={"unseen": scores})


def ridge(looks: Sequence[BoxedLook]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(scale, weights) by layer: each layer's standard deviation, and its weight in such units."""
    try:
        from sklearn.linear_model import Ridge
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise MissingExtra("Fitting a localiser", "engine") from None
    samples = torch.cat([look.samples for look in looks]).numpy()
    inside = torch.cat([look.inside for look in looks]).numpy()
    scaler = StandardScaler(with_mean=False).fit(samples)  # gives a constant layer the scale 1
    model = Ridge(alpha=RIDGE).fit(scaler.transform(samples), inside.astype(float))
    return tuple(scaler.scale_.tolist()), tuple(model.coef_.tolist())


MapOf = Callable[[BoxedLook], Tensor]
"""What each layer showed of an item -> the item's map (N,)."""


def rules_with(localiser: FittedLocaliser) -> Mapping[LayerRule, MapOf]:
    """The maps by each rule for `layer`."""
    fitted, first_layer = torch.tensor(localiser.layer_weights), localiser.options.first_layer
    return {
        "vaq": lambda look: look.maps[choose_layer(look.vaq, "vaq", first_layer)],
        "weighted": lambda look: weighted_map(look.maps, look.vaq)[0],
        "max": lambda look: largest_map(look.maps)[0],
        "fitted": lambda look: weighted_map(look.maps, fitted)[0],
    }


def score(looks: Sequence[BoxedLook], rule: MapOf, options: RegionOptions) -> LookScore:
    """How the rule's maps lie on the true boxes of `looks`."""
    heats = [rule(look).view(look.grid_hw) for look in looks]
    pairs = list(zip(looks, heats, strict=True))
    return LookScore(
        hit=fmean(_hit(look, heat, options) for look, heat in pairs),
        map_share=fmean(map_share(heat.numpy(), look.map_box, look.boxes) for look, heat in pairs),
    )


def _hit(look: BoxedLook, heat: Tensor, options: RegionOptions) -> bool:
    region = find_region(heat, look.map_box, look.image_size, options)
    return region is not None and box_hit(look.boxes, region.crop)


def store(localiser: FittedLocaliser, folder: Path) -> Path:
    """Write readable JSON beside the model; returns the file."""
    path = folder / LOCALISER
    path.write_text(localiser.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path
