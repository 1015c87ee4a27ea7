"""The negative view without a second look: the evidence's visual tokens, hidden from what follows.

LASER (arXiv 2602.04304, eq. 7) paints patches over and encodes the image again. Here the images are
those of the positive view; the question and the answer just cannot attend to the hidden tokens.
Neighbours that saw them before keep what they saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from laser_tools.errors import InvalidRequest
from laser_tools.grounding.regions import Region, covered_cells
from laser_tools.options import LaserOptions
from laser_tools.schema import Box
from laser_tools.vlm.layouts import ImageTokens
from laser_tools.vlm.load import VLM
from laser_tools.vlm.prefix_cache import Segment
from laser_tools.vlm.prompts import Encoded, visual_positions


def hides_keys(vlm: VLM, options: LaserOptions) -> bool:
    """Whether the negative view hides keys; "auto" does where the family shares prefixes."""
    if options.negative == "auto":
        return vlm.family.prefix_sharing
    return options.negative == "keys"


def with_hidden_keys(
    vlm: VLM, encoded: Encoded, regions: Sequence[Region], options: LaserOptions
) -> Encoded:
    """[positive, negative] rows of the same prompts, the negative ones blind to their regions.

    Only the mask changes, not the positions. Raises InvalidRequest where the model's family shares
    no prefixes: in a full pass the image's own tokens would not see the hidden ones either.
    """
    if not encoded.past:
        raise InvalidRequest(
            "This model cannot hide visual tokens: it needs negative='pixels' or 'auto'."
        )
    mask, visual = encoded.inputs["attention_mask"].clone(), visual_positions(vlm, encoded)
    for row, region in enumerate(regions, start=len(regions)):
        hidden = hidden_tokens(vlm, encoded, row, region, options).to(mask.device)
        mask[row, visual[row][hidden]] = 0
    return replace(encoded, inputs=encoded.inputs | {"attention_mask": mask})


def hidden_tokens(
    vlm: VLM, encoded: Encoded, row: int, region: Region, options: LaserOptions
) -> Tensor:
    """True (N,) for the visual tokens of a row's images that show what `region` masks."""
    corners = [(region.crop.x0, region.crop.y0)]
    if options.view == "image+crop":
        corners = [(0, 0), *corners]
    triples = zip(encoded.prompts[row].images, encoded.past[row], corners, strict=True)
    return torch.cat([_hidden_in(vlm, *triple, region) for triple in triples])


def _hidden_in(
    vlm: VLM, image: Image.Image, segment: Segment, corner: tuple[int, int], region: Region
) -> Tensor:
    """True (n,) for the tokens of one image, whose upper left corner is `corner` of the whole."""
    n_tokens = int((segment.input_ids == vlm.model.config.image_token_id).sum())
    tokens = ImageTokens(vlm.processor, segment.image_inputs, 0, n_tokens, image.size)
    layout, (dx, dy) = vlm.family.layout(tokens), corner
    seen = layout.box
    frame = Box(x0=seen.x0 + dx, y0=seen.y0 + dy, x1=seen.x1 + dx, y1=seen.y1 + dy)
    h, w = layout.tokens.shape
    hidden = torch.zeros(n_tokens, dtype=torch.bool)
    hidden[layout.tokens] = covered_cells(region.masked, (h, w), frame)
    if layout.overview is not None:
        h, w = layout.overview.shape
        whole = Box(x0=dx, y0=dy, x1=image.width + dx, y1=image.height + dy)
        hidden[layout.overview] |= covered_cells(region.masked, (h, w), whole)
    return hidden
