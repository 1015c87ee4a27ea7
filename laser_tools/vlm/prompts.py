"""Images and a question -> model inputs, through the processor's own chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from laser_tools.errors import InvalidRequest, ModelUnavailable
from laser_tools.images.box import rescaled
from laser_tools.images.upright import UprightImage
from laser_tools.schema import MAX_QUESTION_TOKENS
from laser_tools.vlm.control_tokens import as_text
from laser_tools.vlm.families import PromptRule
from laser_tools.vlm.layouts import ImageTokens, TokenLayout
from laser_tools.vlm.model import VLM


@dataclass(frozen=True)
class Prompt:
    """One or two images, then the text; `question` None is the prompt without the query."""

    images: tuple[UprightImage, ...]
    question: str | None
    instruction: str = ""

    @property
    def text(self) -> str:
        return "\n".join(line for line in (self.question, self.instruction) if line)


@dataclass(frozen=True)
class Encoded:
    """Prompts as a left-padded batch of model inputs, on the model's device."""

    prompts: tuple[Prompt, ...]
    texts: tuple[str, ...]  # rendered prompts, image placeholders not yet expanded
    inputs: dict[str, Tensor]  # what the model takes; input_ids is (B, S)
    image_inputs: dict[str, Tensor]  # what the processor says of the images, e.g. their grids

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def length(self) -> int:
        """S, the padded prompt length in tokens."""
        return self.inputs["input_ids"].shape[1]


def encode(vlm: VLM, prompts: Sequence[Prompt]) -> Encoded:
    """The batch of `prompts` as model inputs.

    Raises ModelUnavailable without a chat template, InvalidRequest for control tokens in a text
    that cannot be made text.
    """
    safe, texts = rendered(vlm, prompts)
    coded = vlm.processor(
        images=[[image.pixels for image in prompt.images] for prompt in safe],
        text=list(texts),
        return_tensors="pt",
        padding=True,
        add_special_tokens=not starts_with_bos(vlm.processor.tokenizer, texts[0]),
    )
    coded.pop("labels", None)  # PaliGemma's processor prepares for training as well
    inputs = {name: moved(vlm, value) for name, value in coded.items()}
    return Encoded(safe, texts, inputs, inputs)


def rendered(vlm: VLM, prompts: Sequence[Prompt]) -> tuple[tuple[Prompt, ...], tuple[str, ...]]:
    """The prompts with their control tokens made text, and what the chat template makes of them."""
    safe = tuple(_safe(vlm, prompt) for prompt in prompts)
    return safe, tuple(render(vlm.processor, prompt, vlm.family.untemplated) for prompt in safe)


def token_ids(vlm: VLM, text: str) -> list[int]:
    """The tokens of a rendered prompt, one per image placeholder."""
    tokenizer = vlm.processor.tokenizer
    special = not starts_with_bos(tokenizer, text)
    ids: list[int] = tokenizer(text, add_special_tokens=special)["input_ids"]
    return ids


def check_question(vlm: VLM, question: str) -> None:
    """Raise InvalidRequest for a question of more tokens than a pass should have.

    Characters do not bound them: some tokenizers write one as its 4 bytes, or as up to 18 others.
    """
    n_tokens = len(vlm.processor.tokenizer(question, add_special_tokens=False)["input_ids"])
    if n_tokens > MAX_QUESTION_TOKENS:
        raise InvalidRequest(
            f"The question takes {n_tokens} tokens; the most are {MAX_QUESTION_TOKENS}. Shorten it."
        )


def render(processor: ProcessorMixin, prompt: Prompt, untemplated: PromptRule | None = None) -> str:
    """The prompt's text up to where the answer begins, one placeholder per image.

    `untemplated` writes it where the processor has no chat template.
    """
    if not processor.chat_template:
        if untemplated is None:
            raise ModelUnavailable(
                "The model's processor has no chat template: copy chat_template.jinja from where "
                "the model came, or write it."
            )
        return untemplated(processor.image_token, len(prompt.images), prompt.text)
    content = [{"type": "image"} for _ in prompt.images]
    if prompt.text:
        content.append({"type": "text", "text": prompt.text})
    message = [{"role": "user", "content": content}]
    text: str = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    return text


def visual_positions(vlm: VLM, encoded: Encoded) -> list[Tensor]:
    """Per row, the positions (N,) of its visual tokens in the padded sequence.

    Raises ModelUnavailable if the model's config does not say which tokens these are.
    """
    image_token_id = getattr(vlm.model.config, "image_token_id", None)
    if image_token_id is None:
        raise ModelUnavailable("The model's config names no image token: its maps cannot be read.")
    is_visual = encoded.inputs["input_ids"] == image_token_id
    return [row.nonzero()[:, 0] for row in is_visual]


def question_from_end(
    vlm: VLM, text: str, question: str, part: tuple[int, int] | None = None
) -> range:
    """The question's tokens as offsets from the end of the prompt: -1 is the last position.

    With `part`, only those of the question's characters from the first number to the second.
    The text after the last image alone is tokenised: it starts right after a special token, so its
    tokens are the prompt's last ones. Raises InvalidRequest if the template moved the question.
    """
    tail = tail_text(vlm, text)
    start = tail.rfind(question)
    if start < 0:
        raise InvalidRequest("The chat template does not put the question behind the image.")
    coded = vlm.processor.tokenizer(tail, add_special_tokens=False, return_offsets_mapping=True)
    first, last = part or (0, len(question))
    offsets, start, end = coded["offset_mapping"], start + first, start + last
    inside = [i for i, (low, high) in enumerate(offsets) if low < end and high > start]
    return range(inside[0] - len(offsets), inside[-1] + 1 - len(offsets))


def tail_text(vlm: VLM, text: str) -> str:
    """The text after the last image placeholder of a rendered prompt, up to the answer."""
    return text.rpartition(vlm.processor.image_token)[2] + vlm.family.closing


def token_layout(vlm: VLM, encoded: Encoded, row: int, n_tokens: int) -> TokenLayout:
    """Places of the `n_tokens` visual tokens of a row with one image on that image.

    Raises ModelUnavailable if they do not lie as the model's family is known for.
    """
    index = sum(len(prompt.images) for prompt in encoded.prompts[:row])
    image = encoded.prompts[row].images[0]
    return layout_on(vlm, image, encoded.image_inputs, index, n_tokens)


def layout_on(
    vlm: VLM, image: UprightImage, inputs: Mapping[str, Tensor], index: int, n_tokens: int
) -> TokenLayout:
    """Where the tokens of `image`, number `index` of `inputs`, lie: in pixels of its frame."""
    layout = vlm.family.layout(ImageTokens(vlm.processor, inputs, index, n_tokens, image.size))
    return replace(layout, box=rescaled(layout.box, image.size, image.frame_size))


def _safe(vlm: VLM, prompt: Prompt) -> Prompt:
    """The prompt with control tokens in its question and its instruction made text."""

    def safe(text: str) -> str:
        return as_text(text, vlm.control_tokens, vlm.processor.tokenizer)

    question = None if prompt.question is None else safe(prompt.question)
    return Prompt(prompt.images, question, safe(prompt.instruction))


def starts_with_bos(tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    return tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)


def pad_id(vlm: VLM) -> int:
    """A token to fill masked places with."""
    found: int | None = vlm.processor.tokenizer.pad_token_id
    return stop_ids(vlm)[0] if found is None else found


def stop_ids(vlm: VLM) -> list[int]:
    """The tokens that end an answer."""
    found = vlm.model.generation_config.eos_token_id
    return list(found) if isinstance(found, list | tuple) else [found]


def moved(vlm: VLM, value: Tensor) -> Tensor:
    """The tensor on the model's device; floating-point numbers in its dtype."""
    dtype = vlm.model.dtype if torch.is_floating_point(value) else None
    return value.to(vlm.device, dtype=dtype)
