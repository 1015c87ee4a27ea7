"""Every choice that the methods leave open, by name, in frozen objects: one class per stage.

A function takes the options of its stage; a method's options are all of its stages', with flat
names. The defaults are chosen on the validation split; `docs/choices.md` holds the tables.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, field_validator

from laser_tools.schema import Frozen

Readout = Literal["last", "question"]
Aggregate = Literal["mean", "max"]
BoxRule = Literal["bounding", "centre", "component", "cover"]
LayerRule = Literal["vaq", "weighted", "max", "fitted"]
View = Literal["crop", "image+crop"]
MaskFill = Literal["mean", "zero"]
Negative = Literal["pixels", "keys", "auto"]


class AbstainOptions(Frozen):
    """Answers that say that there is none; lists of your own replace these."""

    model_config = ConfigDict(allow_inf_nan=False)  # of every option: NaN passes no comparison

    says_not_there: tuple[str, ...] = (
        "nothing", "none", "nobody", "no one", "nowhere", "not there", "not present",
        "not visible", "there is none", "there is nothing",
    )  # fmt: skip
    says_unclear: tuple[str, ...] = (
        "unclear", "not clear", "unknown", "unsure", "not sure", "unanswerable", "unsuitable",
        "not applicable", "n/a", "i don't know", "i do not know", "cannot tell", "can't tell",
        "cannot be determined", "not enough information",
    )  # fmt: skip


class PresenceOptions(Frozen):
    """Asking the model whether what a question names is there at all (not in the paper)."""

    existence: str = "Is there a {target} in the image?"
    # where "no" wins by this (logits) for something a question names, an answer that claims
    # something of it is withheld as not there; None: not asked
    presence_margin: float | None = None

    @field_validator("existence")
    @classmethod
    def _names_target(cls, template: str) -> str:
        if template.count("{target}") != 1:
            raise ValueError("It must hold {target}, once.")
        return template


class PromptOptions(AbstainOptions, PresenceOptions):
    """Wording of the prompt around a question, and the size of its image (LASER section 3.2)."""

    answer_instruction: str = ""  # a line after the question, "" = none
    # the image is shown as the largest copy of at most so many visual tokens; None = as large as
    # the model takes it. No effect on families that make as many tokens of every size
    max_visual_tokens: int | None = Field(default=None, ge=1)


class LookOptions(PromptOptions):
    """Contrastive attention, VAQ and the localisation map (LASER eqs. 3-5)."""

    no_query: Literal["empty", "instruction"] = "empty"  # "instruction" keeps that line
    zoom_template: str = "Where is the {what}?"  # the question of `zoom`
    readout: Readout = "last"  # last prompt position (the paper), or mean of the question tokens
    renormalise: bool = False  # maps sum to 1 over the visual tokens before the subtraction
    k_head: int | None = Field(default=8, ge=1)  # heads per layer, None = all; clipped to H
    # "vaq": the map of the layer with the highest VAQ (the paper); "weighted": the sum of all
    # layers' maps, each times its VAQ; "max": the largest value of any layer, per visual token;
    # "fitted": the sum by weights fitted to boxed items (`laser-tools calibrate --localiser`); an
    # int: this layer, the fixed-layer baseline (negative from the end)
    layer: LayerRule | int = "vaq"
    first_layer: int = Field(default=0, ge=0)  # layers below are not used, but for an int
    aggregate: Aggregate = "mean"  # over the chosen heads

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


class CropSizeOptions(Frozen):
    """Size of a crop around a place, found or named by the caller (LASER section 3.3)."""

    crop_ratio: float = Field(default=0.5, gt=0.0, le=1.0)  # crop side / image side
    min_crop_px: int = Field(default=224, ge=1)  # or the image's side, if that is smaller


class RegionOptions(CropSizeOptions):
    """From a map to evidence and a crop: Con-ViCrop (LASER section 3.3)."""

    k_patch: float = Field(default=0.02, gt=0.0, le=1.0)  # share of N visual tokens, >= 1 patch
    box_rule: BoxRule = "component"  # what the crop is centred on, see grounding/regions.py
    max_evidence: int = Field(default=3, ge=1)  # connected places reported, best first
    max_crops: int = Field(default=1, ge=1, le=4)  # places that get a crop of their own
    # a further place is cropped if it has this share of the best one's mass, outside its crop
    further_share: float = Field(default=0.5, ge=0.0, le=1.0)


class ViewOptions(Frozen):
    """Images that the answer is read from."""

    view: View = "image+crop"  # the crop replaces the image, or follows it in the prompt
    max_crop_tokens: int | None = Field(default=None, ge=1)  # as for the image; of each crop


class VATOptions(Frozen):
    """Fusion of two streams' logits (LASER eqs. 10-11)."""

    alpha: float = 0.25  # s = z+ + alpha (z+ - z-); the paper has 1.0
    beta: float | None = Field(default=None, gt=0.0, le=1.0)  # cut-off of VCD, arXiv 2311.16922


class VerifyOptions(ViewOptions, VATOptions):
    """Verification by a second stream: when it is asked, and what it cannot see (LASER eq. 7)."""

    verify_margin: float | None = None  # crop margin (logits) >= this: decode the crop alone
    # "pixels" paints the patches over and encodes again (the paper); "keys" hides their tokens from
    # what follows, and needs a family that shares prefixes; "auto" is keys there, pixels elsewhere
    negative: Negative = "auto"
    mask_fill: MaskFill = "mean"  # the image's mean colour | black


class AgainOptions(Frozen):
    """LASER inside its crop, for what is still too small there (not in the paper)."""

    # verified answers whose first margin is below this (logits) are looked for again, None: never;
    # "fitted" is the threshold of the model's calibration (never without one)
    again_margin: float | Literal["fitted"] | None = "fitted"
    # and that have at least this share of the map's mass in the best place
    again_share: float = Field(default=0.35, ge=0.0, le=1.0)


class GateOptions(Frozen):
    """The gate for easy cases (LASER figure 3; not specified there)."""

    # what it goes by: the plain answer's margin, or a VISOR model's router: the whole image's
    # answer is kept where it chooses the cheapest configuration, and `direct_margin` means nothing
    gate: Literal["margin", "router"] = "margin"
    # plain margin >= this (logits, first answer token): keep the whole image's answer; "fitted" is
    # the threshold of the model's calibration (none without one), as a logit means something else
    # in every model
    direct_margin: float | Literal["fitted"] | None = "fitted"
    # decode the whole image's answer beside the crop's: "tell" it, or "choose" the surer of the two
    # by the model's calibration (without one the crop's stays)
    second_opinion: Literal["none", "tell", "choose"] = "none"


class CropOptions(PromptOptions, CropSizeOptions, ViewOptions, GateOptions):
    """Options shared by every method that answers from a crop."""


class LaserOptions(LookOptions, RegionOptions, VerifyOptions, AgainOptions, CropOptions):
    """Options of LASER: localisation, crop, verification, decoding. Unknown fields are an error."""


PAPER = LaserOptions(alpha=1.0, negative="pixels", direct_margin=None, again_margin=None)
"""LASER as its paper has it, where it says: every question verified, the patches painted over."""

# A confidence holds for the options it was fitted with. Which of them it depends on: each option
# stands in one of these three (tests/test_options.py).

SHAPE_EVERY_ANSWER = frozenset({
    "answer_instruction", "max_visual_tokens", "says_not_there", "says_unclear", "existence",
    "presence_margin",
})  # fmt: skip
"""Options that change the margins of every answer, a plain one's as well, or whether it is one."""

SHAPE_LASER_ANSWERS = frozenset({
    "no_query", "readout", "renormalise", "k_head", "layer", "first_layer",  # where LASER looks,
    "aggregate", "k_patch", "box_rule", "crop_ratio", "min_crop_px", "view",  # what it shows,
    "max_crop_tokens", "max_crops", "further_share",
    "negative", "mask_fill", "alpha", "beta",  # what that is held against,
    "gate", "direct_margin", "verify_margin",  # and which of its passes gives the answer
    "again_margin", "again_share", "second_opinion",
})  # fmt: skip
"""Options that change the margins of LASER's answers, or which of its routes an answer takes."""

SHAPE_NO_ANSWER = frozenset({"zoom_template", "max_evidence"})
"""Options of `zoom`, and of what is told about an answer."""

SHAPE_LAYER_MAPS = frozenset(LookOptions.model_fields) - {"layer", "zoom_template"}
"""Options that change what each layer shows: a fitted localiser depends on them."""
