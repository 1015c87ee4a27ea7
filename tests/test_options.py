from __future__ import annotations

import pytest
from pydantic import ValidationError

from laser_tools.options import (
    SHAPE_EVERY_ANSWER,
    SHAPE_LASER_ANSWERS,
    SHAPE_NO_ANSWER,
    LaserOptions,
)


@pytest.mark.parametrize("template", ["Where?", "Where is {it}?", "{what} {0}", "{what"])
def test_a_zoom_template_must_name_what(template: str) -> None:
    with pytest.raises(ValidationError, match="must hold"):
        LaserOptions(zoom_template=template)


@pytest.mark.parametrize(
    "field", [{"k_patch": 0.0}, {"k_head": 0}, {"crop_ratio": 1.5}, {"beta": 0.0}, {"typo": 1}]
)
def test_what_makes_no_sense_is_refused(field: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        LaserOptions.model_validate(field)


@pytest.mark.parametrize("option", ["again_margin", "alpha", "direct_margin", "verify_margin"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_is_one(option: str, value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        LaserOptions.model_validate({option: value})


def test_options_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        LaserOptions().alpha = 2.0


def test_every_option_says_which_confidences_depend_on_it() -> None:
    said = [*SHAPE_EVERY_ANSWER, *SHAPE_LASER_ANSWERS, *SHAPE_NO_ANSWER]
    assert sorted(said) == sorted(LaserOptions.model_fields)  # each once
