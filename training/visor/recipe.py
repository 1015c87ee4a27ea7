"""pico-visor from pico: new, all, score, universal, labels, router. Every stage can resume.

new        cross-attention with weights of its own, where there is such, alone
all        every weight of the language model, all self-attention layers active
score      which configurations are viable: better than every cheaper one
universal  one of these a step, so that one network serves them all
router     the cheapest that keeps 99 % of the fullest one's score, question by question
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForImageTextToText, AutoProcessor, ProcessorMixin

from laser_tools.evaluation.benchmarks.microscenes.scenes import Split
from laser_tools.evaluation.visor.viable import kept_viable
from laser_tools.pico import tower
from laser_tools.visor.config import Configuration, CrossAttention
from laser_tools.visor.model import VisorForConditionalGeneration, register
from laser_tools.visor.router import Router
from training import loop
from training.curves import draw_curves
from training.loop import Metrics
from training.pico import attention
from training.pico.diets import JOINT
from training.pico.store import ViewStore, draw_store
from training.visor.labels import Labelled, labelled
from training.visor.steps import ALONE, Questions, answer_loss, random_choice

TRAIN_SCENES, CHECK_SCENES = 14_000, 400
CHECK_BATCHES = 4
SCORED_BATCHES = 6
ROUTER_SIZE = 64
ROUTER_BATCH = 256
LABELS: Mapping[Split, int] = {"train": 12_000, "validation": 1_000}


@dataclass(frozen=True)
class Plan:
    """A stage's schedule (steps, rows a step, peak learning rate)."""

    name: str
    steps: int
    batch: int
    learning_rate: float


PLANS = (
    Plan("new", 150, 20, 1e-3),
    Plan("all", 150, 20, 3e-4),
    Plan("universal", 500, 20, 3e-4),
    Plan("router", 600, ROUTER_BATCH, 2e-3),
)


@dataclass(frozen=True)
class Layers:
    """Which layers attend to visual tokens, with whose weights, and which can update them.

    The cross layers are those of pico without which, untrained and with one self-attention layer,
    questions of two hops are lost: of neighbour reading 44 % of the right tokens are left (of 48),
    with 1, 4 and 6 less than 1 %.
    """

    cross: tuple[int, ...] = (1, 2, 4, 5)
    own: tuple[int, ...] = (0, 1, 2, 3)
    weights: CrossAttention = "dense"


@dataclass(frozen=True)
class Run:
    """Where, from what, and on what a model is trained."""

    folder: Path
    dense: Path
    layers: Layers
    device: torch.device
    scenes: int = TRAIN_SCENES
    check_scenes: int = CHECK_SCENES
    labels: int = LABELS["train"]
    views: Path | None = None  # drawn views, such as those of the dense model's own training

    @property
    def drawn(self) -> Path:
        """The folder of views; what is missing there is drawn."""
        return self.views or self.folder / "views"


def train(run: Run, plans: Sequence[Plan] = PLANS) -> None:
    """Run the stages in the run's folder, going on where an earlier run stopped.

    The end is `folder`/model, which any loader takes, and `folder`/curves.png.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    new, full, universal, routing = plans
    model, processor = _start(run), AutoProcessor.from_pretrained(run.dense)
    scenes: dict[Split, int] = {"train": run.scenes, "validation": run.check_scenes}
    stores = {split: draw_store(run.drawn, split, n) for split, n in scenes.items()}
    asked = {s: Questions.of(processor, s, JOINT, store) for s, store in stores.items()}
    everything = [tuple(run.layers.own)]
    if len(model.added):
        _train_model(run, new, model, asked, everything)
    _train_model(run, full, model, asked, everything)
    options = _viable(run, model, asked["validation"])
    _train_model(run, universal, model, asked, options)
    router = _train_router(run, routing, model, processor, stores, options)
    draw_curves(run.folder, [plan.name for plan in plans], run.folder / "curves.png")
    _export(run, model, processor, options, router)


def _start(run: Run) -> VisorForConditionalGeneration:
    """The layer rule over the dense model, as it is trained: in float32, on packed rows."""
    tower.register()
    register()
    dense = AutoModelForImageTextToText.from_pretrained(run.dense, dtype=torch.float32)
    layers = run.layers
    model = VisorForConditionalGeneration.from_dense(
        dense, layers.cross, layers.own, cross_attention=layers.weights
    )
    model.get_decoder().set_attn_implementation(attention.NAME)
    model.to(run.device)
    return model


def _train_model(
    run: Run,
    plan: Plan,
    model: VisorForConditionalGeneration,
    asked: Mapping[Split, Questions],
    options: Sequence[Configuration],
) -> None:
    """Train under one of the configurations a step."""

    def step(number: int) -> tuple[Tensor, Metrics]:
        rng = np.random.default_rng((7, number))
        active = random_choice(rng, options)
        return answer_loss(model, *asked["train"].batch(rng, plan.batch, run.device), active)

    loop.run(
        loop.Stage(
            name=plan.name,
            steps=plan.steps,
            learning_rate=plan.learning_rate,
            modules={"model": model},
            trained=_trained_by(plan.name, model),
            step=step,
            check=partial(_checked, run, plan, model, asked["validation"], options),
            by_muon=[*model.get_decoder().layers.parameters(), *model.added.parameters()],
        ),
        run.folder,
    )


def _trained_by(stage: str, model: VisorForConditionalGeneration) -> list[nn.Parameter]:
    """What has been added, first alone, then with language model and projector; the tower stays."""
    projector = model.dense.model.multi_modal_projector
    held = [] if stage == "new" else [model.get_decoder(), projector]
    return [weight for module in (*held, model.added) for weight in module.parameters()]


def _checked(
    run: Run,
    plan: Plan,
    model: VisorForConditionalGeneration,
    questions: Questions,
    options: Sequence[Configuration],
) -> Metrics:
    """The share of right answers of each configuration, over all kinds of question."""
    found: Metrics = {}
    for active in options:
        shares = [
            list(one[1].values())
            for one in _scored(run, plan.batch, model, questions, active, CHECK_BATCHES)
        ]
        found[f"self {list(active)}"] = float(np.nanmean([np.nanmean(each) for each in shares]))
    return found


@torch.no_grad()
def _scored(
    run: Run,
    batch: int,
    model: VisorForConditionalGeneration,
    questions: Questions,
    active: Configuration,
    batches: int,
) -> list[tuple[float, Metrics]]:
    """Loss and shares of right answers of some batches, the same for every configuration."""
    found = []
    for number in range(batches):
        rng = np.random.default_rng((8, number))
        loss, right = answer_loss(
            model, *questions.batch(rng, batch, run.device, vary=False), active
        )
        found.append((loss.item(), right))
    return found


def _viable(
    run: Run, model: VisorForConditionalGeneration, questions: Questions
) -> list[Configuration]:
    def score(ordered: Sequence[Configuration]) -> list[float]:
        found = (_scored(run, 8, model, questions, active, SCORED_BATCHES) for active in ordered)
        return [float(np.mean([loss for loss, _ in each])) for each in found]

    file = run.folder / "configurations.json"
    return kept_viable(file, model.config, run.layers.own, score)


def _train_router(
    run: Run,
    plan: Plan,
    model: VisorForConditionalGeneration,
    processor: ProcessorMixin,
    stores: Mapping[Split, ViewStore],
    options: Sequence[Configuration],
) -> Router | None:
    """The router, trained on labels; None where there is nothing to choose."""
    if len(options) < 2:
        return None
    model.config.configurations, model.config.router_size = list(options), ROUTER_SIZE
    made = {
        split: labelled(
            model,
            Questions.of(processor, split, ALONE, stores[split]),
            options,
            min(n, run.labels),
            run.folder / "labels",
            split,
        )
        for split, n in LABELS.items()
    }
    torch.manual_seed(0)
    router = Router(model.config).to(run.device)
    loop.run(_router_stage(run, plan, router, made), run.folder)
    return router


def _router_stage(
    run: Run, plan: Plan, router: Router, made: Mapping[Split, Labelled]
) -> loop.Stage:
    def measured(features: Tensor, labels: Tensor) -> tuple[Tensor, Metrics]:
        logits = router(features.to(run.device))
        loss = functional.cross_entropy(logits, labels.to(run.device))
        right = (logits.argmax(-1).cpu() == labels).float().mean().item()
        return loss, {"label": right}

    def step(number: int) -> tuple[Tensor, Metrics]:
        rng, found = np.random.default_rng((7, number)), made["train"]
        picked = torch.from_numpy(rng.integers(len(found.labels), size=plan.batch))
        return measured(found.features[picked], found.labels[picked])

    def check() -> Metrics:
        with torch.no_grad():
            metrics = measured(made["validation"].features, made["validation"].labels)[1]
        likeliest = made["validation"].labels.bincount().max() / len(made["validation"].labels)
        return metrics | {"likeliest label": likeliest.item()}

    trained = list(router.parameters())
    return loop.Stage(
        plan.name, plan.steps, plan.learning_rate, {"router": router}, trained, step, check
    )


def _export(
    run: Run,
    model: VisorForConditionalGeneration,
    processor: ProcessorMixin,
    options: Sequence[Configuration],
    router: Router | None,
) -> None:
    """Write a folder that `from_pretrained` loads, in float16: half the size."""
    model.router, model.config.active = router, list(options[-1])
    model.config.dense_config.name_or_path = ""  # not this machine's folder
    model.get_decoder().set_attn_implementation("sdpa")
    model.half().save_pretrained(run.folder / "model")
    processor.save_pretrained(run.folder / "model")
