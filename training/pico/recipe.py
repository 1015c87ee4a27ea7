"""pico from nothing: bind, hops, text, twins, draw views, tower, align, joint. All can resume.

The language model (bind to twins) and the tower do not need each other: two runs in one folder,
with a thread each, can train them at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from laser_tools.evaluation.benchmarks.microscenes.scenes import Split
from training import loop
from training.curves import draw_curves
from training.loop import Metrics
from training.pico.diets import BIND, HOPS, JOINT, TEXT, TWINS, Diet
from training.pico.export import export
from training.pico.parts import Parts
from training.pico.steps import Stepped, align_step, joint_step, text_step, tower_step
from training.pico.store import draw_store
from training.pico.world import World

TRAIN_SCENES, CHECK_SCENES = 14_000, 400
CHECK_BATCHES = 6
Step = Callable[[Parts, World, np.random.Generator, int], Stepped]


@dataclass(frozen=True)
class Plan:
    """A stage's step function and schedule (steps, items a step, peak learning rate)."""

    name: str
    step: Step
    steps: int
    batch: int
    learning_rate: float
    diet: Diet = JOINT
    draws: bool = True  # whether it needs drawn views
    needs: tuple[str, ...] = ()  # stages that it starts from the end of
    owns: tuple[str, ...] = ("",)  # prefixes of the parameters that a later stage takes from it


LANGUAGE = ("model.model.language", "model.lm", "symbols", "pointers", "spellers")
TOWER = ("model.model.vision_tower", "heads")
PLANS = (
    Plan("bind", text_step, 600, 48, 1.5e-3, BIND, draws=False),
    Plan("hops", text_step, 500, 48, 1.5e-3, HOPS, draws=False, needs=("bind",)),
    Plan("text", text_step, 1500, 40, 1.5e-3, TEXT, draws=False, needs=("hops",)),
    Plan("twins", text_step, 500, 48, 1e-3, TWINS, draws=False, needs=("text",), owns=LANGUAGE),
    Plan("tower", tower_step, 5000, 64, 2e-3, owns=TOWER),
    Plan("align", align_step, 1500, 64, 2e-3, needs=("tower", "twins")),
    Plan("joint", joint_step, 3300, 20, 4e-4, needs=("align",)),
)
STAGES = tuple(plan.name for plan in PLANS)


def train(
    folder: Path,
    device: torch.device,
    stages: Sequence[str] = STAGES,
    plans: Sequence[Plan] = PLANS,
) -> None:
    """Run the stages in `folder`, going on where an earlier run stopped.

    The last one writes `folder`/model, a folder that any loader takes; every stage draws the
    curves so far to `folder`/curves.png.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for plan in plans:
        if plan.name in stages:
            loop.run(_stage(plan, plans, folder, device), folder)
            draw_curves(folder, [plan.name for plan in plans], folder / "curves.png")
    last = plans[-1].name
    if last in stages:
        export(folder / f"{last}.pt", folder / "model")


def _stage(plan: Plan, plans: Sequence[Plan], folder: Path, device: torch.device) -> loop.Stage:
    """A plan with its parts and its world."""
    parts = _start(plan, plans, folder, device)
    world = _world(plan, folder, "train", TRAIN_SCENES)
    checked = _world(plan, folder, "validation", CHECK_SCENES)

    def check() -> Metrics:
        with torch.no_grad():
            made = [
                plan.step(parts, checked, np.random.default_rng((8, i)), plan.batch)[1]
                for i in range(CHECK_BATCHES)
            ]
        keys = {key for metrics in made for key in metrics}
        return {key: float(np.nanmean([m.get(key, np.nan) for m in made])) for key in sorted(keys)}

    return loop.Stage(
        name=plan.name,
        steps=plan.steps,
        learning_rate=plan.learning_rate,
        modules=parts.modules(),
        trained=_trained_by(plan.name, parts),
        step=lambda n: plan.step(parts, world, np.random.default_rng((7, n)), plan.batch),
        check=check,
        by_muon=parts.model.model.language_model.layers.parameters(),
    )


def _world(plan: Plan, folder: Path, split: Split, scenes: int) -> World:
    store = draw_store(folder / "views", split, scenes) if plan.draws else None
    return World(split, scenes, plan.diet, store)


def _start(plan: Plan, plans: Sequence[Plan], folder: Path, device: torch.device) -> Parts:
    """Fresh parts, filled from the stages this one builds on."""
    parts = Parts.fresh(device)
    for before in (other for other in plans if other.name in plan.needs):
        saved = torch.load(folder / f"{before.name}.pt", weights_only=True, map_location="cpu")
        for key, module in parts.modules().items():
            state = saved["parts"][key].items()
            owned = {k: v for k, v in state if f"{key}.{k}".startswith(before.owns)}
            module.load_state_dict(owned, strict=False)
    return parts


def _trained_by(stage: str, parts: Parts) -> list[nn.Parameter]:
    """The parameters that a stage trains."""
    model = parts.model.model
    tower: list[nn.Module] = [model.vision_tower, parts.heads]
    language = [model.language_model, parts.symbols, parts.pointers, parts.spellers]
    chosen: dict[str, list[nn.Module]] = {
        "tower": tower,
        "bind": [model.language_model, parts.symbols],
        "hops": [model.language_model, parts.symbols, parts.pointers],
        "text": language,
        "twins": language,
        "align": [*tower, model.multi_modal_projector],
        "joint": [
            *tower,
            model.multi_modal_projector,
            model.language_model,
            parts.pointers,
            parts.spellers,
        ],
    }
    return [p for module in chosen[stage] for p in module.parameters()]
