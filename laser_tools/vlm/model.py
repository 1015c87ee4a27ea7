"""A loaded model with what LASER needs to know about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

import torch
from transformers import PreTrainedModel, ProcessorMixin

from laser_tools.grounding.confidence import Calibration
from laser_tools.grounding.localiser import FittedLocaliser
from laser_tools.visor.freezing import freeze
from laser_tools.vlm import capture, ending
from laser_tools.vlm.control_tokens import control_tokens
from laser_tools.vlm.families import Family, family_for
from laser_tools.vlm.padding import uncropped
from laser_tools.vlm.prefix_cache import PrefixCache

PREFIX_CACHE_BYTES = 1 << 30  # three images of a 7B model in bfloat16, a thousand of pico's


@dataclass(frozen=True)
class VLM:
    """A vision-language model with what LASER needs to know about it.

    The processor pads left. Of the model's generation config only the special tokens are left:
    decoding is greedy, and a checkpoint's sampling settings, penalties and cache settings are not
    applied. `control_tokens` never get into a prompt from a caller's text. `calibration` is None
    where none was fitted for these weights, and so is `localiser`. Hold `lock` while using the
    model: some keep the positions of the last request on themselves, and `prefixes`, what was read
    of images for earlier requests, are not locked. They take at most `prefix_cache_bytes` on the
    model's device; with 0 nothing is kept between calls. In `freeze_visual_layers` the model leaves
    visual tokens as they are (visor/freezing.py); its layers are changed in place.
    """

    model: PreTrainedModel  # a ...ForConditionalGeneration
    processor: ProcessorMixin
    name: str
    calibration: Calibration | None = None
    prefix_cache_bytes: int = PREFIX_CACHE_BYTES
    localiser: FittedLocaliser | None = None
    freeze_visual_layers: tuple[int, ...] = ()
    family: Family = field(init=False)
    lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)
    prefixes: PrefixCache = field(init=False, repr=False, compare=False)
    control_tokens: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "family", family_for(self.model.config))
        object.__setattr__(self, "prefixes", PrefixCache(self.prefix_cache_bytes))
        object.__setattr__(self, "control_tokens", control_tokens(self.processor))
        capture.install(self.model)
        freeze(self.model, self.freeze_visual_layers)
        self.processor.tokenizer.padding_side = "left"
        if self.family.uncropped:
            self.processor.image_processor = uncropped(self.processor.image_processor)
        self.model.generation_config = ending.bare(self.model, self.processor.tokenizer)
        self.model.eval()

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    @property
    def input_px(self) -> int | None:
        """Side of the squares that the vision tower takes; None for one that takes any shape."""
        tower = getattr(self.model.config, "vision_config", None)
        size = getattr(tower, "image_size", None)
        return max(size) if isinstance(size, list | tuple) else size

    def synchronize(self) -> None:
        """Wait until a GPU has done what it was given; a CPU always has."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
