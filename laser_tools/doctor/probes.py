"""Probes of the doctor: planted cells and eager attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from laser_tools.errors import ModelUnavailable
from laser_tools.grounding.regions import cells_box
from laser_tools.images.box import Box
from laser_tools.images.upright import UprightImage
from laser_tools.visor.model import VisorForConditionalGeneration
from laser_tools.vlm.choices import Trie
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import (
    Encoded,
    Prompt,
    encode,
    stop_ids,
    token_layout,
    visual_positions,
)

QUESTION = "What is in the image?"


@dataclass(frozen=True)
class Planted:
    """Counts of planted cells: `hits` of `places` came back where they were."""

    grid_hw: tuple[int, int]
    hits: int
    places: int


@dataclass(frozen=True)
class Step:
    """One token that was decoded, by how much it won and the largest of all, in logits."""

    token: str
    margin: float
    largest: float


def planted(vlm: VLM, size: tuple[int, int]) -> Planted:
    """Invert some cells of a texture of `size` (px), one at a time, and see which token changes.

    A cell comes back if its token changes more for it than for any other cell: each token is its
    own yardstick, since in a trained tower a few tokens answer to everything.
    """
    base = texture(size)
    encoded = encode(vlm, [Prompt((base,), QUESTION)])
    before = embedded(vlm, encoded)
    found = token_layout(vlm, encoded, 0, len(before))
    h, w = found.tokens.shape
    corners = {(0, 0), (0, w - 1), (h - 1, 0), (h - 1, w - 1)}  # a turned map swaps two of them
    cells = sorted(corners | {(h // 2, w // 2), (h // 3, w // 4)})
    changes = []
    for cell in cells:
        image = _inverted(base, cells_box(frozenset({cell}), (h, w), found.box))
        after = embedded(vlm, encode(vlm, [Prompt((image,), QUESTION)]))
        change = found.place((after - before).norm(dim=-1))
        changes.append(change / change.mean())
    at_cells = torch.stack([torch.stack([change[cell] for cell in cells]) for change in changes])
    hits = int((at_cells.argmax(dim=0).cpu() == torch.arange(len(cells))).sum())
    return Planted((h, w), hits, len(cells))


def _inverted(image: UprightImage, box: Box) -> UprightImage:
    painted = image.pixels
    painted.paste(ImageOps.invert(image.crop(box).pixels), box.as_tuple())
    return UprightImage.of(painted)


def texture(size: tuple[int, int]) -> UprightImage:
    """Coloured noise, the same every time, without two alike regions."""
    noise = torch.randint(256, (9 * 11 * 3,), generator=torch.Generator().manual_seed(0))
    image = Image.frombytes("RGB", (11, 9), bytes(noise.tolist()))
    return UprightImage.of(image.resize(size))


class _Enough(Exception):
    """Ends a pass before the language model runs."""


def embedded(vlm: VLM, encoded: Encoded) -> Tensor:
    """The language model's input embeddings at the visual tokens (N, hidden), float32."""
    (visual,) = visual_positions(vlm, encoded)
    if isinstance(vlm.model, VisorForConditionalGeneration):  # walks its layers by itself
        return vlm.model.begun(**encoded.inputs).full[0, visual].float()
    seen: list[Tensor] = []

    def stop(_: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        seen.append(inputs["inputs_embeds"])
        raise _Enough

    hook = vlm.model.get_decoder().register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with suppress(_Enough):
            last_logits(vlm, encoded.inputs)
    finally:
        hook.remove()
    return seen[0][0, visual].float()


def eager_rows(vlm: VLM, encoded: Encoded) -> Tensor:
    """Attention of the last position, (L, H, S), read where the eager implementation returns it.

    It is 0 in a VISOR model's layers of text alone.
    """
    rows: dict[int, Tensor] = {}

    def keep(module: nn.Module, _: object, output: object) -> None:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if isinstance(weights, Tensor) and weights.ndim == 4:
            row, number = weights[0, :, -1].float(), int(module.layer_idx)  # type: ignore[arg-type]
            if row.shape[-1] == encoded.length:
                rows[number] = row
            else:
                rows.setdefault(number, row.new_zeros(len(row), encoded.length))

    decoder = vlm.model.get_decoder()
    modules = (*decoder.modules(), *getattr(vlm.model, "added", ()))
    layers = [m for m in modules if isinstance(getattr(m, "layer_idx", None), int)]
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    before = decoder.config._attn_implementation
    try:
        decoder.set_attn_implementation("eager")
        last_logits(vlm, encoded.inputs)
    finally:
        decoder.set_attn_implementation(before)
        for hook in hooks:
            hook.remove()
    if not rows:
        raise ModelUnavailable("This model does not show its attention.")
    return torch.stack([rows[layer_idx] for layer_idx in sorted(rows)])


def last_logits(vlm: VLM, inputs: Mapping[str, Tensor], **options: object) -> Tensor:
    found: Tensor = vlm.model(**inputs, **{"use_cache": False, **options}, logits_to_keep=1).logits
    return found[:, -1].float()


@dataclass(frozen=True)
class Unending(Trie):
    """A `Trie` without choices: any of `tokens`, `n_tokens` times."""

    tokens: tuple[int, ...]
    n_tokens: int

    @property
    def depth(self) -> int:
        return self.n_tokens

    def next_tokens(self, so_far: Sequence[int], stop: int) -> list[int]:
        return list(self.tokens)


def unending(vlm: VLM, n_tokens: int) -> Unending:
    """Holds an answer to `n_tokens` tokens that do not end it."""
    vocabulary = range(vlm.model.config.get_text_config().vocab_size)
    return Unending({}, tuple(set(vocabulary) - set(stop_ids(vlm))), n_tokens)


def stock_greedy(vlm: VLM, encoded: Encoded, n_tokens: int) -> list[Step]:
    """The `n_tokens` that stock `generate` decodes from a prompt, kept from ending early."""
    found = vlm.model.generate(
        **encoded.inputs,
        max_new_tokens=n_tokens,
        do_sample=False,
        suppress_tokens=stop_ids(vlm),
        return_dict_in_generate=True,
        output_scores=True,
    )
    tokens = found.sequences[0, encoded.length :].tolist()
    texts = [vlm.processor.tokenizer.decode([token]) for token in tokens]
    return [
        _step(text, logits[0].float()) for text, logits in zip(texts, found.scores, strict=True)
    ]


def _step(token: str, scores: Tensor) -> Step:
    first, second = scores.topk(2).values.tolist()
    return Step(token, first - second, float(scores[scores.isfinite()].abs().max()))
