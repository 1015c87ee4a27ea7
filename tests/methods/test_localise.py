from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from laser_tools.grounding.contrast import contrastive_attention
from laser_tools.methods.base import query_prompts
from laser_tools.methods.localise import localise
from laser_tools.options import LaserOptions
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import encode
from laser_tools.vlm.reading.base import readout_weights
from tests.toys import picture, toy_llava, toy_qwen

TOYS = pytest.mark.parametrize("toy", [toy_llava, toy_qwen])
IMAGES = (picture(), picture(400, 150, 1))
QUESTIONS = ("what colour is the star?", "where?")


@TOYS
@pytest.mark.parametrize("readout", ["last", "question"])
def test_a_batch_equals_its_single_rows(toy: Callable[[], VLM], readout: str) -> None:
    vlm, options = toy(), LaserOptions.model_validate({"readout": readout})
    together = localise(vlm, IMAGES, QUESTIONS, options)
    for image, question, seen in zip(IMAGES, QUESTIONS, together, strict=True):
        (alone,) = localise(vlm, [image], [question], options)
        torch.testing.assert_close(seen.query, alone.query, atol=1e-5, rtol=0)
        torch.testing.assert_close(seen.map, alone.map, atol=1e-5, rtol=0)
        assert (seen.layer_idx, seen.map_box) == (alone.layer_idx, alone.map_box)


@TOYS
def test_a_question_longer_than_its_neighbours_whole_prompt(toy: Callable[[], VLM]) -> None:
    """The readout of the short row reaches into its padding, with weight zero."""
    vlm, options = toy(), LaserOptions(readout="question")
    questions = ("where? " * 60, "where?")
    _, short = localise(vlm, [IMAGES[0], picture(60, 60)], questions, options)
    (alone,) = localise(vlm, [picture(60, 60)], questions[1:], options)
    torch.testing.assert_close(short.query, alone.query, atol=1e-5, rtol=0)


@TOYS
def test_the_map_and_the_raw_rows_share_a_grid(toy: Callable[[], VLM]) -> None:
    vlm = toy()
    for seen in localise(vlm, IMAGES, QUESTIONS, LaserOptions(k_head=None, layer="vaq")):
        assert seen.query.shape == seen.no_query.shape
        a_con = contrastive_attention(seen.query, seen.no_query)
        torch.testing.assert_close(seen.map, a_con[seen.layer_idx].mean(dim=0))
        assert seen.map.min() >= 0
        found = seen.as_localisation()
        assert len(found.vaq) == len(seen.query)
        assert (len(found.map), len(found.map[0])) == tuple(seen.map.shape)


@TOYS
def test_the_question_readout_weighs_exactly_the_questions_tokens(toy: Callable[[], VLM]) -> None:
    vlm, options = toy(), LaserOptions(readout="question", answer_instruction="answer one word")
    encoded = encode(vlm, query_prompts(IMAGES, QUESTIONS, options))
    weights = readout_weights(vlm, encoded.prompts, encoded.texts, options.readout)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
    for row, question in enumerate(QUESTIONS):
        last = encoded.inputs["input_ids"][row, -weights.shape[1] :]
        read = vlm.processor.tokenizer.decode(last[weights[row] > 0])
        expected = vlm.processor.tokenizer(question, add_special_tokens=False)["input_ids"]
        assert read == vlm.processor.tokenizer.decode(expected)


def test_a_fixed_layer_is_the_one_that_is_read() -> None:
    (seen,) = localise(toy_llava(), IMAGES[:1], QUESTIONS[:1], LaserOptions(layer=1))
    assert seen.layer_idx == 1


def test_no_query_prompts_differ_by_what_is_kept() -> None:
    vlm = toy_llava()
    maps = [
        localise(
            vlm,
            IMAGES[:1],
            QUESTIONS[:1],
            LaserOptions.model_validate(
                {"no_query": no_query, "answer_instruction": "answer one word"}
            ),
        )[0]
        for no_query in ("empty", "instruction")
    ]
    torch.testing.assert_close(maps[0].query, maps[1].query)
    assert not torch.allclose(maps[0].no_query, maps[1].no_query)
