"""What differs between model families, as data: one line per family, at the end of this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from laser_tools.vlm import layouts
from laser_tools.vlm.layouts import LayoutRule

PromptRule = Callable[[str, int, str], str]
"""(image placeholder, number of images, text) -> the prompt, for models without a chat template."""

PositionRule = Callable[[PreTrainedModel, Mapping[str, Tensor]], Tensor]
"""(model, inputs of a whole prompt) -> `position_ids` (..., B, S) as its forward takes them."""


@dataclass(frozen=True)
class Family:
    """One family: how its visual tokens lie, how its prompt is written, what may be cached."""

    layout: LayoutRule
    untemplated: PromptRule | None = None  # the prompt where there is no chat template
    closing: str = ""  # what the processor itself puts behind a rendered prompt
    positions: PositionRule | None = None  # None: counted from the attention mask
    unshareable: str = ""  # why a prefilled image prefix cannot be reused; "" = it can
    listed: bool = True  # False: nobody tried this family, its rules are guesses

    @property
    def prefix_sharing(self) -> bool:
        """Whether the prompt up to its last visual token may be prefilled once and reused."""
        return not self.unshareable


def family_of(model_type: str) -> Family:
    """The family of a config's `model_type`; for one that is not listed, rules worth a try."""
    return FAMILIES.get(model_type, UNLISTED)


def mrope_positions(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Tensor:
    """Time, row and column of every token, (3, B, S).

    The model itself would continue from the last request it saw (`rope_deltas`), whoever made it.
    """
    positions: Tensor = model.model.get_rope_index(
        inputs["input_ids"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        image_grid_thw=inputs["image_grid_thw"],
        attention_mask=inputs["attention_mask"],
    )[0]
    return positions


def answer_en(placeholder: str, n_images: int, text: str) -> str:
    """PaliGemma's prompt for questions in English (arXiv 2407.07726, appendix)."""
    return placeholder * n_images + f"answer en {text}"


UNLISTED = Family(layouts.by_guess, listed=False)

FAMILIES: dict[str, Family] = {
    "llava": Family(layouts.one_grid),
    "llava_next": Family(layouts.anyres),
    "llava_onevision": Family(layouts.anyres),
    "qwen2_vl": Family(layouts.merged_grid, positions=mrope_positions),
    "qwen2_5_vl": Family(layouts.merged_grid, positions=mrope_positions),
    "qwen3_vl": Family(layouts.merged_grid, positions=mrope_positions),
    "internvl": Family(layouts.canvas),
    "idefics3": Family(layouts.split),
    "smolvlm": Family(layouts.split),
    "gemma3": Family(layouts.first_overview),  # an image's tokens see each other: cut behind them
    "paligemma": Family(
        layouts.one_grid,
        untemplated=answer_en,
        closing="\n",
        unshareable="image tokens attend to the question as well",
    ),
}
