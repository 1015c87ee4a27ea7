from __future__ import annotations

import torch

from laser_tools.grounding.windows import best_window
from laser_tools.schema import Box

SIZE = (672, 672)
WHOLE = Box(x0=0, y0=0, x1=672, y1=672)  # a window at ratio 1 is 10 x 10 cells of 20 x 20


def test_the_window_is_the_block_of_its_size() -> None:
    heat = torch.zeros(20, 20)
    heat[6:16, 8:18] = 1.0
    region = best_window(heat, WHOLE, SIZE, 336)
    assert region is not None
    assert region.crop == Box(x0=268, y0=201, x1=604, y1=537)  # its middle is whole pixels
    assert region.evidence[0].score == 1.0


def test_each_size_is_placed_by_its_sum_and_not_by_what_stands_out() -> None:
    """A lone peak stands out more than the plateau that holds more."""
    heat = torch.zeros(20, 20)
    heat[0:14, 0:14] = 0.5
    heat[17, 17] = 20.0
    region = best_window(heat, WHOLE, SIZE, 336)
    assert region is not None
    assert (region.crop.x0, region.crop.y0) == (0, 0)
    assert region.crop.x1 < 17 * 672 / 20


def test_of_the_sizes_the_one_that_stands_out_most_per_cell() -> None:
    heat = torch.zeros(21, 21)
    heat[3:17, 3:17] = 1.0  # 14 cells of 32 pixels: what ratio 1.4 holds
    region = best_window(heat, WHOLE, SIZE, 336)
    assert region is not None
    assert region.crop.width == region.crop.height == 470


def test_a_window_at_the_rim_is_moved_into_the_image() -> None:
    heat = torch.zeros(20, 20)
    heat[0:2, 18:20] = 1.0
    region = best_window(heat, WHOLE, (672, 300), 336)
    assert region is not None
    assert region.crop == Box(x0=336, y0=0, x1=672, y1=300)


def test_a_map_smaller_than_the_window_is_taken_whole() -> None:
    part = Box(x0=4, y0=0, x1=100, y1=100)
    region = best_window(torch.rand(5, 5), part, (104, 100), 336)
    assert region is not None
    assert region.crop == part


def test_nothing_is_found_in_an_empty_map() -> None:
    assert best_window(torch.zeros(5, 5), WHOLE, SIZE, 336) is None
