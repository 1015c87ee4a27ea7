"""pico's recipe: draw views, then tower, bind, text, align, joint. Every stage can resume."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.optim import Optimizer
from tqdm import tqdm

from laser_tools.pico.batches import DENSE, EASY, FULL, PLACES, SYMBOLIC, Diet
from laser_tools.pico.curves import draw_curves
from laser_tools.pico.draw_store import draw_store
from laser_tools.pico.export import export
from laser_tools.pico.stages import (
    Metrics,
    Parts,
    World,
    align_step,
    joint_step,
    text_step,
    tower_step,
    trained_by,
)

TRAIN_SCENES = 14_000
Step = Callable[[Parts, World, np.random.Generator, int], tuple[torch.Tensor, Metrics]]


@dataclass(frozen=True)
class Stage:
    """A stage's step function and schedule (steps, items a step, peak learning rate)."""

    name: str
    step: Step
    steps: int
    batch: int
    learning_rate: float
    diet: Diet = FULL
    needs: tuple[str, ...] = ()  # stages that it starts from the end of
    owns: tuple[str, ...] = ("",)  # prefixes of the parameters that a later stage takes from it


LANGUAGE = ("model.model.language", "model.lm", "symbols")
STAGES = (
    Stage("tower", tower_step, 5000, 64, 2e-3, owns=("model.model.vision_tower", "heads")),
    Stage("bind", text_step, 500, 48, 1e-3, EASY),
    Stage("text", text_step, 900, 48, 1.5e-3, SYMBOLIC, needs=("bind",), owns=LANGUAGE),
    Stage("places", text_step, 1750, 32, 1e-3, PLACES, needs=("text",), owns=LANGUAGE),
    Stage("align", align_step, 400, 32, 3e-3, needs=("tower", "places")),
    Stage("joint", joint_step, 2600, 20, 7e-4, DENSE, needs=("align",)),
)
ALL_STAGES = tuple(stage.name for stage in STAGES)
CHECKPOINT_EVERY = 100
MUON_RATIO = 3.0  # its learning rate as a multiple of AdamW's


def run_stage(stage: Stage, folder: Path, world: World) -> None:
    """Train one stage to its end, continuing from its checkpoint if there is one."""
    parts = _start(stage, folder)
    optimisers = _optimisers(stage, parts)
    first = _resume(folder / f"{stage.name}.pt", parts, optimisers)
    started = time.monotonic()
    with (folder / f"{stage.name}.jsonl").open("a") as log:
        for step in (bar := tqdm(range(first, stage.steps), desc=stage.name)):
            loss, metrics = stage.step(parts, world, np.random.default_rng((7, step)), stage.batch)
            _update(optimisers, loss, _schedule(step / stage.steps))
            bar.set_postfix(loss=f"{loss.item():.3f}")
            record = {"step": step, "seconds": time.monotonic() - started, "loss": loss.item()}
            log.write(json.dumps(record | metrics) + "\n")
            log.flush()
            if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == stage.steps:
                _save(folder / f"{stage.name}.pt", step + 1, parts, optimisers)


def _optimisers(stage: Stage, parts: Parts) -> list[Optimizer]:
    """AdamW, and Muon for the language model's matrices: binding comes in half the steps."""
    for module in parts.modules().values():
        module.requires_grad_(False)
    trained = list(trained_by(stage.name, parts))
    for parameter in trained:
        parameter.requires_grad_(True)
    layers = parts.model.model.language_model.layers
    matrices = {parameter for parameter in layers.parameters() if parameter.ndim == 2}
    by_muon = [parameter for parameter in trained if parameter in matrices]
    rest = [parameter for parameter in trained if parameter not in matrices]
    optimisers: list[Optimizer] = [
        torch.optim.AdamW(rest, lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    ]
    if by_muon:
        rate = MUON_RATIO * stage.learning_rate
        optimisers.append(
            torch.optim.Muon(by_muon, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        )
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["peak_lr"] = group["lr"]
    return optimisers


def _update(optimisers: list[Optimizer], loss: torch.Tensor, rate: float) -> None:
    """One step at the share `rate` of the peak learning rates, gradients clipped together."""
    groups = [group for optimiser in optimisers for group in optimiser.param_groups]
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], 1.0)
    for group in groups:
        group["lr"] = rate * group["peak_lr"]
    for optimiser in optimisers:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)


def _schedule(progress: float) -> float:
    """Linear warm-up over 4 %, then a cosine to 2 %."""
    if progress < 0.04:
        return (progress + 0.002) / 0.042
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def _start(stage: Stage, folder: Path) -> Parts:
    """Fresh parts, filled from the stages this one builds on."""
    parts = Parts.fresh()
    for before in (other for other in STAGES if other.name in stage.needs):
        saved = torch.load(folder / f"{before.name}.pt", weights_only=True)["parts"]
        for key, module in parts.modules().items():
            state = {k: v for k, v in saved[key].items() if f"{key}.{k}".startswith(before.owns)}
            module.load_state_dict(state, strict=False)
    return parts


def _save(path: Path, step: int, parts: Parts, optimisers: list[Optimizer]) -> None:
    state = {key: module.state_dict() for key, module in parts.modules().items()}
    partial = path.with_suffix(".partial")
    kept = [optimiser.state_dict() for optimiser in optimisers]
    torch.save({"step": step, "parts": state, "optimisers": kept}, partial)
    partial.rename(path)


def _resume(path: Path, parts: Parts, optimisers: list[Optimizer]) -> int:
    if not path.exists():
        return 0
    saved = torch.load(path, weights_only=True)
    for key, module in parts.modules().items():
        module.load_state_dict(saved["parts"][key])
    for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
        optimiser.load_state_dict(state)
    return int(saved["step"])


def train_stage(stage: Stage, folder: Path) -> None:
    """Run one stage; those on symbolic scenes need no pixels, and so no drawn views."""
    draws = stage.name not in ("bind", "text", "places")
    store = draw_store(folder / "views", "train", TRAIN_SCENES) if draws else None
    run_stage(stage, folder, World("train", TRAIN_SCENES, stage.diet, store))


def train(folder: Path, *, stages: tuple[str, ...] = ALL_STAGES) -> None:
    """Run the stages in `folder`, skipping what is there; the last writes `folder`/model, a folder
    that any loader takes, and every call draws the curves so far to `folder`/curves.png."""
    folder.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        if stage.name in stages:
            train_stage(stage, folder)
    if "joint" in stages:
        export(folder / "joint.pt", folder / "model")
    draw_curves(folder, folder / "curves.png")
