"""Every family at toy size: what its rules say is what its model does."""

from __future__ import annotations

import random
from collections.abc import Mapping
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from transformers import CLIPImageProcessorPil

from laser_tools.doctor.probes import planted
from laser_tools.errors import ModelUnavailable
from laser_tools.grounding.regions import cells_box, find_region
from laser_tools.methods.localise import localise
from laser_tools.options import LaserOptions
from laser_tools.schema import Box
from laser_tools.vlm.capture import capture
from laser_tools.vlm.families import FAMILIES, UNLISTED, family_of
from laser_tools.vlm.layouts import ImageTokens, TokenLayout, by_guess, one_grid
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import Encoded, Prompt, encode, token_layout, visual_positions
from laser_tools.vlm.reading.base import readout_weights
from tests.toy_families import TOY_FAMILIES
from tests.toys import picture, toy_qwen

EVERY_FAMILY = pytest.mark.parametrize("family", sorted(FAMILIES))
CORNER_SIZES = ((28, 28), (28, 1400), (1400, 28), (30, 2800), (24, 24), (49, 47))  # px
N_RANDOM_SIZES = 8


def layout_of(vlm: VLM, encoded: Encoded, row: int = 0) -> TokenLayout:
    return token_layout(vlm, encoded, row, len(visual_positions(vlm, encoded)[row]))


def image_tokens(
    rules: object, n_tokens: int, size: tuple[int, int], inputs: Mapping[str, Tensor] | None = None
) -> ImageTokens:
    return ImageTokens(SimpleNamespace(image_processor=rules), inputs or {}, 0, n_tokens, size)


def test_every_listed_family_has_a_toy_and_none_is_listed_twice() -> None:
    assert set(TOY_FAMILIES) == set(FAMILIES)
    for name, toy in TOY_FAMILIES.items():
        assert toy().family is FAMILIES[name]


def test_an_unlisted_family_gets_rules_to_try() -> None:
    assert family_of("blip") is UNLISTED
    assert not UNLISTED.listed
    assert all(family.listed for family in FAMILIES.values())


@EVERY_FAMILY
def test_a_hot_token_comes_back_as_a_box_around_its_place(family: str) -> None:
    """Fuzz over sizes and aspect ratios; every box is inside the image."""
    vlm, draw = TOY_FAMILIES[family](), random.Random(0)
    sizes = [
        *CORNER_SIZES,
        *((draw.randint(28, 700), draw.randint(28, 700)) for _ in range(N_RANDOM_SIZES)),
    ]
    for size in sizes:
        layout = layout_of(vlm, encode(vlm, [Prompt((picture(*size),), "where?")]))
        grid_hw = (layout.tokens.shape[0], layout.tokens.shape[1])
        tokens = layout.tokens.flatten()
        assert len(set(tokens.tolist())) == len(tokens)
        assert (layout.box.x1 <= size[0], layout.box.y1 <= size[1]) == (True, True)
        cell = draw.randrange(grid_hw[0]), draw.randrange(grid_hw[1])
        n_visual = int(tokens.max()) + 1
        hot = torch.zeros(n_visual).index_fill(0, layout.tokens[cell], 1.0)
        region = find_region(layout.place(hot), layout.box, size, LaserOptions(k_patch=1e-3))
        assert region is not None
        assert region.evidence[0].box == cells_box(frozenset({cell}), grid_hw, layout.box)
        for box in (region.evidence[0].box, region.crop):
            assert (box.x1 <= size[0], box.y1 <= size[1]) == (True, True)


@EVERY_FAMILY
@pytest.mark.parametrize("size", [(300, 260), (97, 300), (500, 40)])
def test_a_planted_cell_changes_the_token_that_lies_on_it(
    family: str, size: tuple[int, int]
) -> None:
    """Through the real image processor and vision tower: no rule may mix up rows or tiles."""
    found = planted(TOY_FAMILIES[family](), size)
    assert found.hits == found.places >= 3


@EVERY_FAMILY
def test_a_batch_equals_its_single_rows(family: str) -> None:
    vlm, options = TOY_FAMILIES[family](), LaserOptions()
    images = (picture(300, 260), picture(400, 150, 1))
    questions = ("what colour is the star?", "where?")
    for image, question, seen in zip(
        images, questions, localise(vlm, images, questions, options), strict=True
    ):
        (alone,) = localise(vlm, [image], [question], options)
        torch.testing.assert_close(seen.query, alone.query, atol=1e-5, rtol=0)
        torch.testing.assert_close(seen.map, alone.map, atol=1e-5, rtol=0)
        assert (seen.layer_idx, seen.map_box) == (alone.layer_idx, alone.map_box)


@EVERY_FAMILY
def test_capture_restores_everything_also_when_forward_raises(family: str) -> None:
    vlm = TOY_FAMILIES[family]()
    encoded = encode(vlm, [Prompt((picture(),), "where?")])
    config = vlm.model.config.get_text_config()
    before = config._attn_implementation
    failing = vlm.model.get_decoder().layers[1].register_forward_pre_hook(_fail)
    try:
        with (
            pytest.raises(RuntimeError, match="half-way"),
            capture(visual_positions(vlm, encoded), torch.ones(1, 1)),
        ):
            vlm.model(**encoded.inputs)
    finally:
        failing.remove()
    assert config._attn_implementation == before


def _fail(*_: object) -> None:
    raise RuntimeError("half-way")


@EVERY_FAMILY
def test_the_question_is_found_from_the_end_of_every_prompt(family: str) -> None:
    vlm, options = TOY_FAMILIES[family](), LaserOptions(readout="question")
    encoded = encode(vlm, [Prompt((picture(),), "what colour is the star?")])
    weights = readout_weights(vlm, encoded.prompts, encoded.texts, options.readout)
    last = encoded.inputs["input_ids"][0, -weights.shape[1] :]
    assert vlm.processor.tokenizer.decode(last[weights[0] > 0]) == "what colour is the star ?"


def test_a_centre_crop_covers_the_middle_square_of_a_wide_image() -> None:
    rules = CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})
    assert one_grid(image_tokens(rules, 36, (400, 300))).box == Box(x0=50, y0=0, x1=350, y1=300)
    assert one_grid(image_tokens(rules, 36, (30, 90))).box == Box(x0=0, y0=30, x1=30, y1=60)


def test_a_stretched_image_is_covered_whole() -> None:
    side = {"height": 96, "width": 96}
    rules = SimpleNamespace(do_center_crop=True, do_resize=True, size=side, crop_size=side)
    box = one_grid(image_tokens(rules, 36, (400, 300))).box
    assert box == Box(x0=0, y0=0, x1=400, y1=300)


def test_a_guess_follows_the_processor() -> None:
    grids = {"image_grid_thw": torch.tensor([[1, 4, 6]])}
    merged = by_guess(image_tokens(SimpleNamespace(merge_size=2), 6, (90, 60), grids))
    assert merged.tokens.shape == (2, 3)
    square = by_guess(image_tokens(SimpleNamespace(), 9, (90, 60)))
    assert (square.tokens.shape, square.box.as_tuple()) == ((3, 3), (0, 0, 90, 60))


@EVERY_FAMILY
def test_tokens_that_do_not_fit_are_refused_not_mapped(family: str) -> None:
    vlm = TOY_FAMILIES[family]()
    encoded = encode(vlm, [Prompt((picture(),), "where?")])
    n_tokens = len(visual_positions(vlm, encoded)[0])
    with pytest.raises(ModelUnavailable, match="do not form"):
        token_layout(vlm, encoded, 0, n_tokens + 1)


def test_the_grid_of_qwen_follows_the_images_shape() -> None:
    vlm = toy_qwen()
    encoded = encode(
        vlm, [Prompt((picture(300, 100),), "where?"), Prompt((picture(100, 300),), "a")]
    )
    for row in range(2):
        h, w = layout_of(vlm, encoded, row).tokens.shape
        assert (h < w) == (row == 0)


def test_tiles_are_stitched_and_the_end_of_a_row_has_no_place() -> None:
    vlm = TOY_FAMILIES["llava_next"]()
    layout = layout_of(vlm, encode(vlm, [Prompt((picture(300, 300),), "where?")]))
    assert layout.tokens[0].tolist() == [9, 10, 11, 12, 13, 14]  # the overview has 0-8
    assert layout.tokens[1, 0] == 16  # 15 is the end of the first row
    stitched = TOY_FAMILIES["internvl"]()
    tiles = layout_of(stitched, encode(stitched, [Prompt((picture(300, 300),), "where?")])).tokens
    assert tiles[0].tolist() == [0, 1, 4, 5]


def test_an_image_too_thin_for_tiles_has_its_overview() -> None:
    vlm = TOY_FAMILIES["llava_next"]()
    layout = layout_of(vlm, encode(vlm, [Prompt((picture(30, 2800),), "where?")]))
    assert layout.tokens.shape == (3, 3)
