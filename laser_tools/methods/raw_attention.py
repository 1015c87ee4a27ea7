"""LASER without its contrast: attention with the query alone, not less that without it.

A baseline that shows what the prompt without the query is good for. All else is LASER's, and so are
the options.
"""

from __future__ import annotations

from collections.abc import Sequence

from laser_tools.methods.base import Method
from laser_tools.methods.laser import ROUTES, con_vicrop
from laser_tools.methods.localise import Looked, compared, vaq_map
from laser_tools.methods.pipeline import CropMethod
from laser_tools.options import LaserOptions, LookOptions
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.prompts import Prompt


def raw(call: ModelCall, prompts: Sequence[Prompt], options: LookOptions) -> Looked:
    """The attention itself, of the layers that LASER would take from it."""
    return compared(call, prompts, (), vaq_map, options, options.readout)


METHOD = Method(CropMethod(raw, con_vicrop, ROUTES, lambda _: "raw-attention").answer, LaserOptions)
