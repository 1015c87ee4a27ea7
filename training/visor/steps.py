"""A step of training: packed questions about drawn views, answered under a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import ProcessorMixin

from laser_tools.pico.scenes import Split
from laser_tools.visor.config import Configuration
from laser_tools.visor.model import VisorForConditionalGeneration
from training.loop import Metrics
from training.pico.diets import JOINT, Diet
from training.pico.packing import Packed, pack
from training.pico.rows import RowMaker
from training.pico.steps import answered_right, normalise
from training.pico.store import ViewStore
from training.pico.world import World

ALONE = replace(JOINT, images=(1.0, 0.0, 0.0), blind_share=0.0, questions=1)
"""One question behind one image: what a router is asked about."""


@dataclass(frozen=True)
class Questions:
    """Batches of questions in the tokens of the dense model, and the views they are about."""

    world: World

    @classmethod
    def of(cls, processor: ProcessorMixin, split: Split, diet: Diet, store: ViewStore) -> Questions:
        world = World(split, len(store), diet, store)
        world.maker = RowMaker(processor.tokenizer, diet, split)
        return cls(world)

    def batch(
        self, rng: np.random.Generator, count: int, device: torch.device, *, vary: bool = True
    ) -> tuple[Packed, Tensor]:
        """`count` rows, and the pixels of their views; brightness and contrast may vary."""
        rows = self.world.rows(rng, count)
        pixels = normalise(self.world.pixels(rows), rng if vary else None)
        return pack(self.world.maker, rows).to(device), pixels.to(device)


def embedded(
    model: VisorForConditionalGeneration, packed: Packed, pixels: Tensor
) -> tuple[Tensor, Tensor]:
    """Embeddings (B, S, d) of a batch, and which of them are visual tokens."""
    visual = packed.slots >= 0
    found = model.dense.get_image_features(pixels, return_dict=True).pooler_output
    cells = torch.cat(list(found))[packed.slots[visual]]
    embeds = model.get_input_embeddings()(packed.input_ids)
    return embeds.masked_scatter(visual[..., None], cells.to(embeds)), visual


def answer_logits(
    model: VisorForConditionalGeneration, packed: Packed, pixels: Tensor, active: Configuration
) -> Tensor:
    """(targets, V) at every position whose next token is an answer's."""
    with torch.autocast(pixels.device.type, torch.bfloat16):
        embeds, visual = embedded(model, packed, pixels)
    return logits_of(model, packed, embeds, visual, active)


def logits_of(
    model: VisorForConditionalGeneration,
    packed: Packed,
    embeds: Tensor,
    visual: Tensor,
    active: Configuration,
) -> Tensor:
    """`answer_logits` of what `embedded` made: the tower sees a picture once for all options."""
    with torch.autocast(embeds.device.type, torch.bfloat16):
        logits = model(
            inputs_embeds=embeds,
            visual=visual,
            attention_mask=packed.mask,
            position_ids=packed.position_ids,
            self_layers=active,
            use_cache=False,
        ).logits
    chosen: Tensor = logits.flatten(0, 1)[packed.where].float()
    return chosen


def answer_loss(
    model: VisorForConditionalGeneration, packed: Packed, pixels: Tensor, active: Configuration
) -> tuple[Tensor, Metrics]:
    """Cross-entropy of the answers, and the share of right ones by kind of question."""
    logits = answer_logits(model, packed, pixels, active)
    loss = functional.cross_entropy(logits, packed.target)
    return loss, answered_right(logits.argmax(-1), packed)


def random_choice(rng: np.random.Generator, options: Sequence[Configuration]) -> Configuration:
    """One of the configurations, each as likely."""
    return options[int(rng.integers(len(options)))]
