"""Every choice that LASER (arXiv 2602.04304) leaves open, by name, in one frozen object.

The defaults are chosen on the validation split; `docs/choices.md` holds the table that chose them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from laser_tools.schema import Frozen

Readout = Literal["last", "question"]
Aggregate = Literal["mean", "max"]
BoxRule = Literal["bounding", "centre", "component", "cover"]
View = Literal["crop", "image+crop"]
MaskFill = Literal["mean", "zero"]
Negative = Literal["pixels", "keys", "auto"]


class LaserOptions(Frozen):
    """How to localise, crop, verify and decode. Unknown fields are an error."""

    # Prompts (section 3.2; what "without the query" keeps is open)
    answer_instruction: str = ""  # a line after the question, "" = none
    no_query: Literal["empty", "instruction"] = "empty"  # "instruction" keeps that line
    zoom_template: str = "Where is the {what}?"  # the question behind `zoom`

    # Attention readout and contrast (eq. 3)
    readout: Readout = "last"  # last prompt position (the paper), or mean of the question tokens
    renormalise: bool = False  # maps sum to 1 over the visual tokens before the subtraction

    # VAQ and layer choice (eqs. 4-5)
    k_head: int | None = Field(default=8, ge=1)  # heads per layer, None = all; clipped to H
    layer: Literal["vaq"] | int = (
        "vaq"  # an int is the fixed-layer baseline (negative from the end)
    )
    first_layer: int = Field(default=0, ge=0)  # layers below cannot be chosen by VAQ

    # Localisation map and Con-ViCrop (section 3.3)
    aggregate: Aggregate = "mean"  # over the chosen heads
    k_patch: float = Field(default=0.02, gt=0.0, le=1.0)  # share of N visual tokens, >= 1 patch
    box_rule: BoxRule = "component"  # what the crop is centred on, see grounding/regions.py
    max_evidence: int = Field(default=3, ge=1)  # connected places reported, best first
    crop_ratio: float = Field(default=0.5, gt=0.0, le=1.0)  # crop side / image side
    min_crop_px: int = Field(default=224, ge=1)  # or the image's side, if that is smaller
    view: View = "image+crop"  # the crop replaces the image, or follows it in the prompt

    # Negative view (eq. 7) and VAT decoding (eqs. 10-11)
    # "pixels" paints the patches over and encodes again (the paper); "keys" hides their tokens from
    # what follows, and needs a family that shares prefixes; "auto" is keys there, pixels elsewhere
    negative: Negative = "auto"
    mask_fill: MaskFill = "mean"  # the image's mean colour | black
    alpha: float = 0.25  # s = z+ + alpha (z+ - z-); the paper has 1.0
    beta: float | None = Field(default=None, gt=0.0, le=1.0)  # cut-off of VCD, arXiv 2311.16922

    # The gate for easy cases (figure 3; not specified there). Logit units, first answer token.
    # plain margin >= this: keep the whole image's answer; "fitted" is the threshold of the model's
    # calibration (none without one), as a logit means something else in every model
    direct_margin: float | Literal["fitted"] | None = "fitted"
    verify_margin: float | None = None  # crop margin >= this: decode the crop alone

    @field_validator("zoom_template")
    @classmethod
    def _names_what(cls, template: str) -> str:
        try:
            holds = "lamp" in template.format(what="lamp")
        except (KeyError, IndexError, ValueError):
            holds = False
        if not holds:
            raise ValueError("A zoom template must hold {what}, and no other name in braces.")
        return template


PAPER = LaserOptions(alpha=1.0, negative="pixels", direct_margin=None)
"""LASER as its paper has it, where it says: every question verified, the patches painted over."""
