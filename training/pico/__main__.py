"""Train pico: `python -m training.pico --out runs/pico`; run it again to resume."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from training.pico.recipe import STAGES, train


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m training.pico", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    arguments = parser.parse_args()
    train(arguments.out, arguments.device, arguments.stages)


if __name__ == "__main__":
    main()
