"""What LASER is timed against beside `generate`: naive LASER, and ViCrop (arXiv 2502.17422).

    python -m tests.oracle.slow_arms --geometry toy-llava --random-weights ...

is `laser-tools bench speed` with both as further arms. They are written the way their papers and
public ports are: the processor and the model class as they come, eager attention over whole passes,
nothing shared between passes.
"""

from __future__ import annotations

import sys

import torch
from PIL import Image
from torch import Tensor

from laser_tools import cli
from laser_tools.evaluation.speed import bench
from laser_tools.evaluation.speed.scene import Scene, generate
from laser_tools.grounding.contrast import relative_attention
from laser_tools.images.upright import UprightImage
from laser_tools.schema import Box
from laser_tools.vlm.model import VLM
from tests.oracle import naive_laser as naive

GENERAL = "Write a general description of the image."  # ViCrop's other prompt
WINDOW_PX = 336  # ViCrop's window at ratio 1: the input size of LLaVA-1.5
RATIOS = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
LAYER_SHARE = {"qwen2_5_vl": 22 / 28}  # ViCrop's layer over the depth, by model type
OTHER_LAYER_SHARE = 14 / 32  # LLaVA-1.5's


def naive_laser(scene: Scene) -> int:
    """Two eager passes to see, two eager `generate`s to answer: four full passes over images.

    Its streams are not fused, which would cost nothing next to the passes.
    """
    seen = naive.look(*_asked(scene), scene.cells, scene.map_box, scene.options)
    with naive.eager(scene.vlm):
        tokens = [
            generate(scene, [UprightImage.of(image) for image in view])
            for view in (seen.positive, seen.negative)
        ]
    return max(tokens)


def vicrop(scene: Scene) -> int:
    """Relative attention from two eager passes, then the answer from [original, crop]."""
    vlm, image, question = _asked(scene)
    with torch.no_grad(), naive.eager(vlm):
        asked, general = (
            naive.last_row(vlm, naive.inputs_of(vlm, [image], text)) for text in (question, GENERAL)
        )
        crop = scene.image.crop(vicrop_box(_relative(scene, asked, general), scene.map_box))
        return generate(scene, [scene.image, crop])


def vicrop_box(heat: Tensor, map_box: Box) -> Box:
    """The window of `map_box` that stands out most from its neighbours, over all ratios.

    `heat` is (h, w). A window's score is its sum less the mean of the sums of the windows one cell
    above, below, left and right of it; windows that leave the map are not looked at.
    """
    h, w = heat.shape
    best, found = -torch.inf, map_box
    for ratio in RATIOS:
        n_rows = min(h, max(1, round(ratio * WINDOW_PX * h / map_box.height)))
        n_columns = min(w, max(1, round(ratio * WINDOW_PX * w / map_box.width)))
        score = _standing_out(heat, n_rows, n_columns)
        row, column = divmod(int(score.argmax()), score.shape[1])
        if score[row, column] > best:
            best = float(score[row, column])
            found = Box(
                x0=map_box.x0 + column * map_box.width // w,
                y0=map_box.y0 + row * map_box.height // h,
                x1=map_box.x0 + (column + n_columns) * map_box.width // w,
                y1=map_box.y0 + (row + n_rows) * map_box.height // h,
            )
    return found


def _standing_out(heat: Tensor, n_rows: int, n_columns: int) -> Tensor:
    """Per place of a window, its sum less the mean sum of its neighbours that exist, else 0."""
    sums = heat.unfold(0, n_rows, 1).unfold(1, n_columns, 1).sum(dim=(-1, -2))
    cross = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    both = torch.stack([sums, torch.ones_like(sums)])[:, None]
    around, there = torch.nn.functional.conv2d(both, cross[None, None], padding=1)[:, 0]
    return torch.where(there > 0, sums - around / there.clamp(min=1), 0.0)


def _relative(scene: Scene, asked: Tensor, general: Tensor) -> Tensor:
    """A(question) / A(general) at ViCrop's layer, both averaged over heads, on the grid."""
    share = LAYER_SHARE.get(scene.vlm.model.config.model_type, OTHER_LAYER_SHARE)
    layer_idx = min(round(share * len(asked)), len(asked) - 1)
    heads = (rows[layer_idx].float().mean(0) for rows in (asked, general))
    return relative_attention(*heads)[scene.cells]


def _asked(scene: Scene) -> tuple[VLM, Image.Image, str]:
    return scene.vlm, scene.image.pixels, scene.question


ARMS = {
    "naive": bench.SlowArm(naive_laser, keeps_attention=True),
    "vicrop": bench.SlowArm(vicrop, keeps_attention=True),
}

if __name__ == "__main__":
    bench.SLOW_ARMS.update(ARMS)
    sys.exit(cli.run(["bench", "speed", *sys.argv[1:]]))
