"""`laser-tools calibrate --localiser`: fit the layers' weights, and say what they are worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from laser_tools.cli import console

if TYPE_CHECKING:
    from laser_tools.evaluation.benchmarks.base import Item
    from laser_tools.evaluation.localiser import BoxedLook
    from laser_tools.grounding.localiser import FittedLocaliser
    from laser_tools.options import LaserOptions
    from laser_tools.vlm.model import VLM


def look(vlm: VLM, items: Iterable[Item], n: int, options: LaserOptions) -> list[BoxedLook]:
    """Every layer's maps of the first `n` items with boxes, with a progress bar."""
    from laser_tools.evaluation.localiser import look_at

    with console.progress(n, "looking") as bar:
        return look_at(vlm, items, n, options, bar.update)


def fit(
    looks: Sequence[BoxedLook], model_hash: str, split: str, options: LaserOptions
) -> FittedLocaliser:
    """The localiser fitted to two thirds of `looks`, and scored on the rest."""
    from laser_tools.evaluation import localiser

    return localiser.fit(looks, model_hash, split, options)


def deliver(fitted: FittedLocaliser, folder: Path, as_json: bool) -> None:
    """Store it beside the model, and print how each rule for `layer` did."""
    from laser_tools.evaluation.localiser import store

    path = store(fitted, folder)
    if as_json:
        console.echo_json({"file": str(path), **console.plain_data(fitted)})
    else:
        typer.echo(f"wrote {path}: fitted on {fitted.n} items with boxes\n\n{table(fitted)}\n")
        typer.echo("A confidence that was fitted with layer=fitted has to be fitted again.")


def table(fitted: FittedLocaliser) -> str:
    """Scores on the items that were not fitted on, by the rule for `layer`."""
    head = f"| `layer`, {fitted.n_unseen} unseen items | crop holds the boxes | map inside them |"
    rows = [
        f"| {name} | {100 * score.hit:.1f} % | {100 * score.map_share:.1f} % |"
        for name, score in fitted.unseen.items()
    ]
    return "\n".join([head, "|---|---:|---:|", *rows])
