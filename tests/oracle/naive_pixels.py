"""ViCrop's pure gradient and its tiles, as its code has them (arXiv 2502.17422)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from laser_tools.schema import Box
from tests.oracle import naive_laser as naive
from tests.oracle.naive_peers import GENERAL, Asked, Found, greedy, window


def pure_gradient(asked: Asked) -> Tensor:
    (question, pixels), (general, _) = (_slopes(asked, text) for text in (asked.question, GENERAL))
    ratio = np.sqrt((question**2).sum(0)) / np.sqrt((general**2).sum(0))
    detail = _detail(pixels)
    counted = ratio * (detail > np.median(detail))
    rows, columns = _grid(asked)
    tall, wide = counted.shape[0] // rows, counted.shape[1] // columns
    tokens = [
        counted[r * tall : (r + 1) * tall, c * wide : (c + 1) * wide].mean()
        for r in range(rows)
        for c in range(columns)
    ]
    return torch.tensor(tokens)[asked.cells]


def _slopes(asked: Asked, question: str) -> tuple[np.ndarray, np.ndarray]:
    """Both channels x rows x columns: the slope of the answer's first token, and the image."""
    inputs = naive.inputs_of(asked.vlm, [asked.image], question)
    inputs["pixel_values"].requires_grad_()
    # Not "eager", whose softmax is in float32 whatever the model's type is.
    with torch.enable_grad(), naive.stock_attention(asked.vlm, "sdpa"):
        chance = asked.vlm.model(**inputs).logits[0, -1].log_softmax(-1).max()
        (slope,) = torch.autograd.grad(chance, inputs["pixel_values"])
    rules = asked.vlm.processor.image_processor
    image = _picture(asked, inputs, inputs["pixel_values"].detach()) / _frames(asked)
    mean, std = (np.array(each)[:, None, None] for each in (rules.image_mean, rules.image_std))
    return _picture(asked, inputs, slope), image * std + mean


def _frames(asked: Asked) -> int:
    return getattr(asked.vlm.processor.image_processor, "temporal_patch_size", 1)


def _picture(asked: Asked, inputs: dict[str, Tensor], values: Tensor) -> np.ndarray:
    """Qwen's patches, 2 x 2 neighbours after each other, of two frames, put in their places."""
    if "image_grid_thw" not in inputs:
        return values[0].double().numpy()
    _, rows, columns = inputs["image_grid_thw"][0].tolist()
    places = [
        (row + down, column + across)
        for row in range(0, rows, 2)
        for column in range(0, columns, 2)
        for down in (0, 1)
        for across in (0, 1)
    ]
    picture = np.zeros((3, 14 * rows, 14 * columns))
    for (row, column), patch in zip(places, values.double().numpy(), strict=True):
        pixels = patch.reshape(3, _frames(asked), 14, 14).sum(1)
        picture[:, 14 * row : 14 * row + 14, 14 * column : 14 * column + 14] = pixels
    return picture


def _grid(asked: Asked) -> tuple[int, int]:
    inputs = naive.inputs_of(asked.vlm, [asked.image], "")
    if "image_grid_thw" in inputs:
        _, rows, columns = inputs["image_grid_thw"][0].tolist()
        return rows // 2, columns // 2
    n = int((inputs["input_ids"] == asked.vlm.model.config.image_token_id).sum())
    return math.isqrt(n), math.isqrt(n)


def _detail(pixels: np.ndarray) -> np.ndarray:
    bell = np.exp(-0.5 * (np.array([-1, 0, 1]) / 0.8) ** 2)
    bell /= bell.sum()
    edged = np.pad(pixels, ((0, 0), (1, 1), (1, 1)), mode="reflect")
    h, w = pixels.shape[1:]
    blurred = sum(
        bell[down] * bell[across] * edged[:, down : down + h, across : across + w]
        for down in range(3)
        for across in range(3)
    )
    strength = np.round(np.sqrt(((pixels - blurred) ** 2).sum(0)), 9)
    around = np.pad(strength, 3, mode="symmetric")
    middle: np.ndarray = np.median(np.lib.stride_tricks.sliding_window_view(around, (7, 7)), (2, 3))
    return middle


def tiles(size: tuple[int, int], most_px: int) -> list[list[Box]]:
    """Rows of tiles. The code's last ones reach beyond the image; these are moved inside."""
    down = math.ceil(size[1] / most_px)
    across = max(1, int(down * size[0] / size[1]))
    wide, high = math.ceil(size[0] / across), math.ceil(size[1] / down)
    found = []
    for row in range(down):
        y = min(row * high, size[1] - high)
        xs = [min(column * wide, size[0] - wide) for column in range(across)]
        found.append([Box(x0=x, y0=y, x1=x + wide, y1=y + high) for x in xs])
    return found


def cropped(asked: Asked, heat: Tensor, window_px: int, n_tokens: int) -> Found:
    """ViCrop's window and answer from a map over all of `asked.map_box`."""
    crop = Box(**dict(zip(("x0", "y0", "x1", "y1"), window(asked, heat, window_px), strict=True)))
    images = [asked.image, asked.image.crop(crop.as_tuple())]
    return Found(heat, crop, greedy(asked, images, n_tokens))
