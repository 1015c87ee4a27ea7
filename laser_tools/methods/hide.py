"""The negative view without a second look: the evidence's visual tokens, hidden from what follows.

LASER (arXiv 2602.04304, eq. 7) paints patches over and encodes the image again. Here the images are
those of the positive view; the question and the answer just cannot attend to the hidden tokens.
Neighbours that saw them before keep what they saw.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from laser_tools.errors import InvalidRequest
from laser_tools.grounding.regions import Region, covered_cells
from laser_tools.options import LaserOptions
from laser_tools.schema import Box
from laser_tools.vlm.layouts import ImageTokens
from laser_tools.vlm.load import VLM
from laser_tools.vlm.prefix import pack, run
from laser_tools.vlm.prompts import Encoded, Prompt
from laser_tools.vlm.rows import ImagePart, Rows, tokenised
from laser_tools.vlm.session import Session


def hides_keys(vlm: VLM, options: LaserOptions) -> bool:
    """Whether the negative view hides keys; "auto" does where the family shares prefixes.

    Raises InvalidRequest for "keys" where it does not: in a full pass the image's own tokens would
    not see the hidden ones either.
    """
    if options.negative == "keys" and not vlm.family.prefix_sharing:
        raise InvalidRequest(
            "This model cannot hide visual tokens: it needs negative='pixels' or 'auto'."
        )
    return options.negative != "pixels" and vlm.family.prefix_sharing


def read_blind(
    session: Session, prompts: Sequence[Prompt], regions: Sequence[Region], options: LaserOptions
) -> Encoded:
    """[positive, negative] rows of the same prompts, the negative ones blind to their regions.

    Only the mask changes, not the positions.
    """
    rows = tokenised(session, [*prompts, *prompts])
    hidden = {
        n: hidden_tokens(session.vlm, rows, n, region, options)
        for n, region in enumerate(regions, start=len(prompts))
    }
    return run(session, rows, pack(session, rows, hidden))


def hidden_tokens(
    vlm: VLM, rows: Rows, prompt: int, region: Region, options: LaserOptions
) -> Tensor:
    """True (N,) for the visual tokens of a prompt's images that show what `region` masks."""
    corners = [(region.crop.x0, region.crop.y0)]
    if options.view == "image+crop":
        corners = [(0, 0), *corners]
    triples = zip(rows.prompts[prompt].images, rows.rows[prompt].images, corners, strict=True)
    return torch.cat([_hidden_in(vlm, *triple, region) for triple in triples])


def _hidden_in(
    vlm: VLM, image: Image.Image, part: ImagePart, corner: tuple[int, int], region: Region
) -> Tensor:
    """True (n,) for the tokens of one image, whose upper left corner is `corner` of the whole."""
    n_tokens = int((part.input_ids == vlm.model.config.image_token_id).sum())
    tokens = ImageTokens(vlm.processor, part.image_inputs, 0, n_tokens, image.size)
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
