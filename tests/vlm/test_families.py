from __future__ import annotations

from types import SimpleNamespace

import pytest

from laser_tools.errors import ModelUnavailable
from laser_tools.schema import Box
from laser_tools.vlm.families import FAMILIES, family_of
from laser_tools.vlm.prompts import Prompt, encode, visual_positions
from tests.toys import picture, toy_llava, toy_qwen


def test_an_unknown_family_is_refused_by_name() -> None:
    with pytest.raises(ModelUnavailable, match=r"'blip'.*llava, qwen2_5_vl"):
        family_of("blip")


def test_llava_covers_the_middle_square_of_a_wide_image() -> None:
    processor = toy_llava().processor
    assert FAMILIES["llava"].covered(processor, (400, 300)) == Box(x0=50, y0=0, x1=350, y1=300)
    assert FAMILIES["llava"].covered(processor, (30, 90)) == Box(x0=0, y0=30, x1=30, y1=60)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (77, 78)])
def test_the_covered_box_is_inside_the_image(size: tuple[int, int]) -> None:
    box = FAMILIES["llava"].covered(toy_llava().processor, size)
    assert (box.x0 >= 0, box.y0 >= 0, box.x1 <= size[0], box.y1 <= size[1]) == (True,) * 4


def test_a_stretched_image_is_covered_whole() -> None:
    rules = SimpleNamespace(
        do_center_crop=True,
        do_resize=True,
        size={"height": 96, "width": 96},
        crop_size={"height": 96, "width": 96},
    )
    covered = FAMILIES["llava"].covered(SimpleNamespace(image_processor=rules), (400, 300))
    assert covered == Box(x0=0, y0=0, x1=400, y1=300)


def test_the_grid_of_llava_is_square_or_refused() -> None:
    grid_hw = FAMILIES["llava"].grid_hw
    assert grid_hw(toy_llava().processor, {}, 0, 144) == (12, 12)
    with pytest.raises(ModelUnavailable, match="square"):
        grid_hw(toy_llava().processor, {}, 0, 143)


def test_the_grid_of_qwen_follows_the_images_shape() -> None:
    vlm = toy_qwen()
    encoded = encode(
        vlm, [Prompt((picture(300, 100),), "where?"), Prompt((picture(100, 300),), "a")]
    )
    for row, visual in enumerate(visual_positions(vlm, encoded)):
        h, w = vlm.family.grid_hw(vlm.processor, encoded.inputs, row, len(visual))
        assert h * w == len(visual)
        assert (h < w) == (row == 0)
