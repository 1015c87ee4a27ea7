"""Train a VISOR model of pico: `python -m training.visor --out runs/visor`; again to resume."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch

from laser_tools.visor.config import CrossAttention
from laser_tools.vlm.load import PICO_FOLDER
from training.visor.recipe import LABELS, PLANS, TRAIN_SCENES, Layers, Run, train


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m training.visor", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--dense", type=Path, default=PICO_FOLDER, help="folder of the dense model")
    parser.add_argument("--cross", type=int, nargs="*", default=Layers.cross, help="cross layers")
    parser.add_argument("--self", type=int, nargs="*", default=Layers.own, help="self layers")
    parser.add_argument("--weights", choices=get_args(CrossAttention), default=Layers.weights)
    parser.add_argument("--scenes", type=int, default=TRAIN_SCENES, help="to train on")
    parser.add_argument("--views", type=Path, help="folder of drawn views, if there is one")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of all steps and labels, for a short run"
    )
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    given = parser.parse_args()
    plans = [replace(plan, steps=max(round(given.share * plan.steps), 1)) for plan in PLANS]
    layers = Layers(tuple(given.cross), tuple(given.self), given.weights)
    train(
        Run(
            given.out,
            given.dense,
            layers,
            given.device,
            given.scenes,
            labels=max(round(given.share * LABELS["train"]), 1),
            views=given.views,
        ),
        plans,
    )


if __name__ == "__main__":
    main()
