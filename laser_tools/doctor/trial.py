"""A model's first question, asked when it is loaded: its files may not fit each other."""

from __future__ import annotations

import torch
from PIL import Image

from laser_tools.images.upright import UprightImage
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.decode import Limits, decode
from laser_tools.vlm.forked import check_process
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import Prompt, token_layout, visual_positions
from laser_tools.vlm.reading import read

SIZE = (113, 85)  # px; small, and no multiple of usual patches: resizing has to work


def try_out(vlm: VLM) -> None:
    """Read a small grey image with a question, and decode two tokens. Raises what goes wrong."""
    image = UprightImage.of(Image.new("RGB", SIZE, "grey"))
    prompt = Prompt((image,), "What is in the image?")
    check_process(vlm.device)
    with vlm.lock, torch.inference_mode():
        found = read(ModelCall(vlm), [prompt])
        (visual,) = visual_positions(vlm, found.encoded)
        token_layout(vlm, found.encoded, 0, len(visual))
        decode(vlm, found, [Limits(2)])
