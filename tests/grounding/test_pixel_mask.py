from __future__ import annotations

import pytest
import torch

from laser_tools.grounding.pixel_mask import kept_pixels
from laser_tools.schema import Box

FRAME = Box(x0=10, y0=20, x1=110, y1=120)  # 100 x 100 pixels, ten to a cell of 10 x 10


def three_places() -> torch.Tensor:
    heat = torch.full((10, 10), 0.01)
    heat[1, 1], heat[1, 8], heat[8, 8] = 3.0, 2.0, 1.0
    return heat


def test_the_heaviest_parts_are_kept_and_what_lies_between_is_not() -> None:
    region = kept_pixels(three_places(), FRAME, 0.05, 2)
    assert region is not None
    assert region.kept is not None
    assert region.kept.shape == (region.crop.height, region.crop.width)
    first, second = (evidence.box for evidence in region.evidence)
    assert (first.y0 < 36 < first.y1, first.x0 < 26 < first.x1) == (True, True)
    assert (second.y0 < 36 < second.y1, second.x0 < 96 < second.x1) == (True, True)
    assert region.crop.y1 < 60  # the third place is left out
    assert not region.kept[:, region.crop.width // 2].any()
    assert region.evidence[0].score > region.evidence[1].score > 0


def test_no_more_than_the_share_is_kept() -> None:
    region = kept_pixels(torch.rand(10, 10), FRAME, 0.2, 100)
    assert region is not None
    assert region.kept is not None
    assert int(region.kept.sum()) == pytest.approx(2000, abs=5)


def test_a_large_image_is_looked_at_coarsely() -> None:
    large = Box(x0=1000, y0=2000, x1=11000, y1=12000)
    region = kept_pixels(three_places(), large, 0.05, 2)
    small = kept_pixels(three_places(), FRAME, 0.05, 2)
    assert region is not None
    assert region.kept is not None
    assert small is not None
    assert region.kept.numel() < 1024 * 1024
    scaled = [(side - 10 * (1 + i % 2)) * 100 for i, side in enumerate(small.crop.as_tuple())]
    found = [side - 1000 * (1 + i % 2) for i, side in enumerate(region.crop.as_tuple())]
    assert found == pytest.approx(scaled, abs=120)


def test_a_single_part_is_its_own_crop() -> None:
    region = kept_pixels(three_places(), FRAME, 0.05, 1)
    assert region is not None
    assert region.crop == region.evidence[0].box


def test_nothing_is_kept_of_an_empty_map() -> None:
    assert kept_pixels(torch.zeros(4, 4), FRAME, 0.2, 2) is None
