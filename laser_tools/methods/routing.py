"""The gate of a VISOR model: its router says which questions the cheapest configuration answers."""

from __future__ import annotations

import torch

from laser_tools.errors import InvalidRequest
from laser_tools.visor.model import VisorForConditionalGeneration
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.model import VLM
from laser_tools.vlm.reading import reader_of
from laser_tools.vlm.reading.base import Read


def cheapest(call: ModelCall, found: Read, n: int) -> list[int]:
    """Of the first `n` prompts of `found`, those whose router's choice is the cheapest one.

    The tower and the layers before the first in which configurations differ are gone through once
    more. Raises InvalidRequest if the model has no router.
    """
    model = _routed(call.vlm)
    inputs = reader_of(call.vlm).chosen(call, found, range(n)).encoded.inputs
    with call.stage("attend"), torch.inference_mode():
        chosen = model.routed(**inputs)
    first = tuple(model.config.configurations[0])
    return [row for row, its in enumerate(chosen) if its == first]


def _routed(vlm: VLM) -> VisorForConditionalGeneration:
    model = vlm.model
    if isinstance(model, VisorForConditionalGeneration) and model.router is not None:
        return model
    raise InvalidRequest(
        f"gate='router' needs a VISOR model with a router, and '{vlm.name}' has none. Leave the "
        "gate at 'margin', or train a router ('laser-tools visor train')."
    )
