"""LASER (arXiv 2602.04304) as one would write it from the paper: slow, unbatched, no shortcuts.

Full eager passes with `output_attentions=True`, both streams decoded step by step from the whole
sequence. It shares no code with the package except the options and the Box: it is the oracle that
the fast path must equal (tests/oracle), and the slow arm of `bench speed`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from laser_tools.options import LaserOptions
from laser_tools.schema import Box
from laser_tools.vlm.model import VLM


@dataclass
class Seen:
    query: Tensor  # (L, H, N)
    no_query: Tensor
    vaq: Tensor
    layer_idx: int
    heat: Tensor  # (h, w)
    crop: Box
    positive: list[Image.Image]  # the images of the two streams
    negative: list[Image.Image]


@dataclass
class Naive:
    seen: Seen
    tokens: list[int]
    margins: list[float]
    vat_margins: list[float]


def laser(
    vlm: VLM,
    image: Image.Image,
    question: str,
    cells: Tensor,  # (h, w): which visual token lies where; the others are not looked at
    map_box: Box,
    options: LaserOptions,
    n_tokens: int,
) -> Naive:
    seen = look(vlm, image, question, cells, map_box, options)
    with torch.no_grad(), eager(vlm):
        positive = inputs_of(vlm, seen.positive, question)
        negative = inputs_of(vlm, seen.negative, question)
        return Naive(seen, *decode(vlm, positive, negative, options.alpha, n_tokens))


def look(
    vlm: VLM,
    image: Image.Image,
    question: str,
    cells: Tensor,
    map_box: Box,
    options: LaserOptions,
) -> Seen:
    """Everything before the answer: two passes, the map, the two views."""
    with torch.no_grad(), eager(vlm):
        query = last_row(vlm, inputs_of(vlm, [image], question))[:, :, cells.flatten()]
        no_query = last_row(vlm, inputs_of(vlm, [image], ""))[:, :, cells.flatten()]
    a_con = (query - no_query).relu()
    heads = min(options.k_head or a_con.shape[1], a_con.shape[1])
    norms = (a_con**2).sum(-1).sqrt()
    vaq = norms.sort(dim=1, descending=True).values[:, :heads].mean(1)
    layer_idx = int(vaq.argmax())
    top = norms[layer_idx].sort(descending=True).indices[:heads]
    heat = a_con[layer_idx, top].mean(0).view(*cells.shape)
    crop, masked = crop_and_mask(image, heat, map_box, options)
    positive = [image.crop(crop.as_tuple())]
    negative = [masked.crop(crop.as_tuple())]
    if options.view == "image+crop":
        positive, negative = [image, *positive], [masked, *negative]
    return Seen(query, no_query, vaq, layer_idx, heat, crop, positive, negative)


@contextmanager
def eager(vlm: VLM) -> Iterator[None]:
    """The language model computes whole attention matrices while the block runs."""
    with stock_attention(vlm, "eager"):
        yield


@contextmanager
def stock_attention(vlm: VLM, name: Literal["eager", "sdpa"]) -> Iterator[None]:
    """The language model attends by that function of transformers while the block runs."""
    before = vlm.model.config.get_text_config()._attn_implementation
    vlm.model.set_attn_implementation({"text_config": name})
    try:
        yield
    finally:
        vlm.model.set_attn_implementation({"text_config": before})


def inputs_of(vlm: VLM, images: list[Image.Image], question: str) -> dict[str, Tensor]:
    content = [{"type": "image"} for _ in images]
    content += [{"type": "text", "text": question}] if question else []
    if vlm.processor.chat_template:
        text = vlm.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
    else:  # PaliGemma
        text = "<image>" * len(images) + "answer en " + question
    inputs = vlm.processor(images=[images], text=[text], return_tensors="pt")
    inputs.pop("labels", None)
    return dict(inputs.to(vlm.device, dtype=vlm.model.dtype))


def last_row(vlm: VLM, inputs: dict[str, Tensor]) -> Tensor:
    attentions = vlm.model(**inputs, output_attentions=True).attentions  # L times (1, H, S, S)
    is_visual = inputs["input_ids"][0] == vlm.model.config.image_token_id
    return torch.stack([layer[0, :, -1, is_visual] for layer in attentions]).cpu()


def crop_and_mask(
    image: Image.Image, heat: Tensor, map_box: Box, options: LaserOptions
) -> tuple[Box, Image.Image]:
    h, w = heat.shape
    k = max(1, round(options.k_patch * h * w))
    patches = [divmod(int(i), w) for i in heat.flatten().sort(descending=True).indices[:k]]
    pixels = np.asarray(image).copy()
    mean = np.round(pixels.reshape(-1, 3).mean(0))
    corners = []
    anchors = patches if options.box_rule == "bounding" else _heaviest_part(patches, heat)
    for row, column in patches:
        x0 = map_box.x0 + int(np.floor(column * map_box.width / w))
        x1 = map_box.x0 + int(np.ceil((column + 1) * map_box.width / w))
        y0 = map_box.y0 + int(np.floor(row * map_box.height / h))
        y1 = map_box.y0 + int(np.ceil((row + 1) * map_box.height / h))
        pixels[y0:y1, x0:x1] = mean
        if (row, column) in anchors:
            corners.append((x0, y0, x1, y1))
    left, upper = min(c[0] for c in corners), min(c[1] for c in corners)
    right, lower = max(c[2] for c in corners), max(c[3] for c in corners)
    width = min(max(round(image.width / 2), 224), image.width)
    height = min(max(round(image.height / 2), 224), image.height)
    x0 = int(np.clip((left + right - width) // 2, 0, image.width - width))
    y0 = int(np.clip((upper + lower - height) // 2, 0, image.height - height))
    return Box(x0=x0, y0=y0, x1=x0 + width, y1=y0 + height), Image.fromarray(pixels)


def _heaviest_part(patches: list[tuple[int, int]], heat: Tensor) -> list[tuple[int, int]]:
    """Join patches that touch (corners too) until nothing changes; the heaviest of the parts."""
    parts = [[patch] for patch in patches]
    while True:
        touching = [
            (a, b)
            for a in parts
            for b in parts
            if a is not b
            and any(abs(p[0] - q[0]) <= 1 and abs(p[1] - q[1]) <= 1 for p in a for q in b)
        ]
        if not touching:
            return max(parts, key=lambda part: sum(float(heat[cell]) for cell in part))
        a, b = touching[0]
        parts = [part for part in parts if part is not a and part is not b] + [a + b]


def decode(
    vlm: VLM,
    positive: dict[str, Tensor],
    negative: dict[str, Tensor],
    alpha: float,
    n_tokens: int,
) -> tuple[list[int], list[float], list[float]]:
    tokens, margins, vat_margins = list[int](), list[float](), list[float]()
    while len(tokens) < n_tokens:
        z_positive = vlm.model(**extended(positive, tokens)).logits[0, -1]
        z_negative = vlm.model(**extended(negative, tokens)).logits[0, -1]
        vat = z_positive - z_negative
        score = z_positive + alpha * vat
        first, second = score.sort(descending=True).indices[:2].tolist()
        if first == vlm.processor.tokenizer.eos_token_id:
            break
        tokens.append(first)
        margins.append(float(score[first] - score[second]))
        vat_margins.append(float(vat[first] - vat[second]))
    return tokens, margins, vat_margins


def extended(inputs: dict[str, Tensor], tokens: list[int]) -> dict[str, Tensor]:
    """The inputs of the whole sequence, with `tokens` after it."""
    more = torch.tensor([tokens], dtype=torch.long, device=inputs["input_ids"].device)
    longer = dict(inputs)
    longer["input_ids"] = torch.cat([inputs["input_ids"], more], dim=1)
    longer["attention_mask"] = torch.ones_like(longer["input_ids"])
    for name in ("mm_token_type_ids", "token_type_ids"):
        if name in inputs:  # 1 is an image, but for PaliGemma, where it is the answer
            kind = torch.full_like(more, 0 if inputs[name].any() else 1)
            longer[name] = torch.cat([inputs[name], kind], dim=1)
    return longer
