"""A dense model -> a VISOR model of a user's own: new, all, score, universal, router.

The stages are those of `python -m training.visor`. All can resume: what is in the folder is not
made again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from torch import nn

from laser_tools.errors import InvalidRequest
from laser_tools.evaluation.visor.training import stages
from laser_tools.evaluation.visor.training.conversations import Example
from laser_tools.evaluation.visor.training.examples import Collator, batches
from laser_tools.evaluation.visor.training.report import RouterFit, TrainReport
from laser_tools.evaluation.visor.training.routing import (
    fit_router,
    labelled,
    losses,
    on_device,
)
from laser_tools.evaluation.visor.training.stages import Schedule, Stage
from laser_tools.evaluation.visor.viable import kept_viable
from laser_tools.visor.config import Configuration, CrossAttention
from laser_tools.visor.model import VisorForConditionalGeneration
from laser_tools.vlm.model import VLM

CHECK_EVERY, MOST_CHECKED = 10, 200  # every tenth example, at most so many, scores configurations
MOST_LABELS = 20_000
MOST_SELF = 8  # layers: 256 configurations to score
NEW_FASTER = 100.0  # weights that begin at 0 alone, times the others' learning rate
ROUTER_SIZE = 64


@dataclass(frozen=True)
class Layers:
    """Which layers attend to visual tokens, with whose weights, and which can update them."""

    cross: tuple[int, ...]
    own: tuple[int, ...]
    weights: CrossAttention = "dense"

    @classmethod
    def spread(cls, n_layers: int, weights: CrossAttention) -> Layers:
        """Every third layer attends; four in the first half, the first of all, can update."""
        own = tuple(sorted({n_layers * number // 8 for number in range(4)}))
        taken = own if weights == "added" else ()
        return cls(tuple(n for n in range(1, n_layers, 3) if n not in taken), own, weights)


@dataclass(frozen=True)
class Run:
    """A dense model, examples, and where the VISOR model goes."""

    vlm: VLM
    examples: Sequence[Example]
    layers: Layers
    schedule: Schedule
    folder: Path
    routed: bool = True

    @property
    def checked(self) -> Sequence[Example]:
        return self.examples[::CHECK_EVERY][:MOST_CHECKED]

    @property
    def learned(self) -> list[Example]:
        held = {id(example) for example in self.checked}
        return [example for example in self.examples if id(example) not in held]


def begin(run: Run) -> VisorForConditionalGeneration:
    """The layer rule over the dense model, untrained. Raises what is wrong before any training."""
    layers = run.layers
    if run.routed and not layers.own:
        raise InvalidRequest(
            "The router would be empty: with no self-attention layers there is one configuration. "
            "Name some with --self-layers, or leave it out with --no-router."
        )
    if len(layers.own) > MOST_SELF:
        raise InvalidRequest(
            f"Of {len(layers.own)} self-attention layers there are too many configurations to "
            f"score. Name at most {MOST_SELF}."
        )
    if len(run.examples) < 2 * CHECK_EVERY:
        raise InvalidRequest(
            f"{len(run.examples)} answers are too few to train on: give at least {2 * CHECK_EVERY}."
        )
    model = VisorForConditionalGeneration.from_dense(
        run.vlm.model, layers.cross, layers.own, cross_attention=layers.weights
    )
    _refuse_another(run)
    return model


def train(run: Run) -> TrainReport:
    """Run the stages; the end is `folder`/model, which any loader takes."""
    model, collator, state = begin(run), Collator(run.vlm), PartialState()
    everything = [tuple(sorted(run.layers.own))]
    lost: dict[str, tuple[float, ...]] = {}
    if len(model.added):
        new = Stage("new", list(model.added.parameters()), everything, NEW_FASTER)
        lost["new"] = _trained(run, new, model, collator)
    weights = _language(model)
    lost["all"] = _trained(run, Stage("all", weights, everything), model, collator)
    with state.main_process_first():
        options = _viable(run, model, collator)
    lost["universal"] = _trained(run, Stage("universal", weights, options), model, collator)
    fitted = _routed(run, model, collator, options) if run.routed and len(options) > 1 else None
    model.config.active = list(options[-1])
    if state.is_main_process:
        model.save_pretrained(run.folder / "model")
        run.vlm.processor.save_pretrained(run.folder / "model")
    state.wait_for_everyone()
    return TrainReport(
        model=run.vlm.name,
        n_examples=len(run.examples),
        cross_layers=run.layers.cross,
        self_layers=run.layers.own,
        losses=lost,
        configurations=tuple(options),
        router=fitted,
    )


def _trained(
    run: Run, stage: Stage, model: VisorForConditionalGeneration, collator: Collator
) -> tuple[float, ...]:
    return tuple(stages.run(stage, model, collator, run.learned, run.schedule, run.folder))


def _language(model: VisorForConditionalGeneration) -> list[nn.Parameter]:
    """All that is trained in the end; the vision tower and the head stay as they are."""
    held = (model.get_decoder(), model.dense.model.multi_modal_projector, model.added)
    return [weight for module in held for weight in module.parameters()]


def _viable(
    run: Run, model: VisorForConditionalGeneration, collator: Collator
) -> list[Configuration]:
    def score(ordered: Sequence[Configuration]) -> list[float]:
        model.eval()
        parts = batches(run.checked, run.schedule.batch_size)
        found = [losses(model, on_device(model, collator(part)), ordered) for part in parts]
        return [float(loss) for loss in torch.cat(found).mean(dim=0)]

    file = run.folder / "configurations.json"
    return kept_viable(file, model.config, run.layers.own, score)


def _routed(
    run: Run,
    model: VisorForConditionalGeneration,
    collator: Collator,
    options: Sequence[Configuration],
) -> RouterFit:
    """Give the model a router of these configurations."""
    config = model.config
    config.configurations, config.router_size = list(options), ROUTER_SIZE
    found = labelled(
        model,
        collator,
        run.learned[:MOST_LABELS],
        options,
        run.schedule.batch_size,
        run.folder / "labels",
    )
    router, right, likeliest = fit_router(config, found)
    model.router = router.to(model.device, model.dtype)
    return RouterFit(right=right, likeliest=likeliest)


def _refuse_another(run: Run) -> None:
    """Raises InvalidRequest if the folder holds a run of other layers or another model."""
    layers = run.layers
    told = {
        "model": run.vlm.name,
        "cross_layers": list(layers.cross),
        "self_layers": list(layers.own),
        "weights": layers.weights,
    }
    file = run.folder / "run.json"
    if file.exists() and json.loads(file.read_text()) != told:
        raise InvalidRequest(
            f"The folder {run.folder} holds a run of another model or other layers (run.json). "
            "Give the same ones to go on, or another folder with --out."
        )
    run.folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(told, indent=2) + "\n")
