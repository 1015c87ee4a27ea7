"""Examples -> batches: prompts as the tools ask them, padded left, then the answers to learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from laser_tools.errors import ImageRejected
from laser_tools.evaluation.visor.training.conversations import PLACE, Example
from laser_tools.images import open_image_file
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import starts_with_bos

IGNORED = -100  # the label of tokens that are not learned

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Collator:
    """Makes batches for a model in the words of its own processor."""

    vlm: VLM

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """Prompts and answers (B, S), with `labels`: the answers' tokens and their ends."""
        made, answers = self.prompts(examples), [self._answer(example) for example in examples]
        longest = max(map(len, answers))
        ids = torch.zeros(len(answers), longest, dtype=torch.long)
        counts = torch.zeros_like(ids)
        for row, answer in enumerate(answers):
            ids[row, : len(answer)], counts[row, : len(answer)] = torch.tensor(answer), 1
        nothing = torch.full_like(made["input_ids"], IGNORED)
        return {
            **made,
            "input_ids": torch.cat([made["input_ids"], ids], dim=1),
            "attention_mask": torch.cat([made["attention_mask"], counts], dim=1),
            "labels": torch.cat([nothing, ids.masked_fill(counts == 0, IGNORED)], dim=1),
        }

    def prompts(self, examples: Sequence[Example]) -> Batch:
        """All that stands before the answers, padded left."""
        processor, texts = self.vlm.processor, [self._prompt(example) for example in examples]
        return dict(
            processor(
                images=[[_pixels(path) for path in example.images] for example in examples],
                text=texts,
                return_tensors="pt",
                padding=True,
                add_special_tokens=not starts_with_bos(processor.tokenizer, texts[0]),
            )
        )

    def _prompt(self, example: Example) -> str:
        turns = zip(("user", "assistant") * len(example.said), example.said, strict=False)
        messages = [{"role": role, "content": _parts(text)} for role, text in turns]
        text: str = self.vlm.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        return text

    def _answer(self, example: Example) -> list[int]:
        """The answer's tokens, and the one that ends it."""
        ends = self.vlm.model.generation_config.eos_token_id
        answer = example.answer.strip()
        ids: list[int] = self.vlm.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
        return [*ids, ends[0] if isinstance(ends, list) else ends]


def batches(examples: Sequence[Example], size: int) -> Iterator[Sequence[Example]]:
    """The examples in order, `size` at a time."""
    for start in range(0, len(examples), size):
        yield examples[start : start + size]


def _parts(text: str) -> list[dict[str, str]]:
    """Content of a turn: words, and images where their places are."""
    pieces = [piece.strip() for piece in text.split(PLACE)]
    found: list[dict[str, str]] = []
    for number, piece in enumerate(pieces):
        if number:
            found.append({"type": "image"})
        if piece:
            found.append({"type": "text", "text": piece})
    return found


def _pixels(path: Path) -> Image.Image:
    try:
        return open_image_file(path).pixels
    except ImageRejected as error:
        raise ImageRejected(f"{path}: {error.public_text}") from None
