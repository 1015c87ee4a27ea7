"""What the general prompt attends to is read once an image, and kept with the image's prefix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from laser_tools.engine import LocalEngine
from laser_tools.methods import carve, vicrop
from laser_tools.methods.localise import GENERAL
from laser_tools.options import CropOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer, MethodName
from laser_tools.vlm.model import VLM
from tests.toy_families import TOY_FAMILIES
from tests.toys import picture

OPTIONS = [
    vicrop.VicropOptions(layer=0),
    carve.CarveOptions(layers=(0, 1)),
    carve.CarveOptions(layers=(0, 1), direct_margin=1e9),  # its gate reads the logits
]
FIRST, SECOND = "is it red?", "where is the star?"


@contextmanager
def passes(vlm: VLM) -> Iterator[list[tuple[int, int]]]:
    """A list that gets the rows and tokens of every pass that the model begins."""
    made: list[tuple[int, int]] = []

    def note(_: object, __: object, given: dict[str, Tensor]) -> None:
        rows, tokens = given["input_ids"].shape
        made.append((rows, tokens))

    hook = vlm.model.register_forward_pre_hook(note, with_kwargs=True)
    yield made
    hook.remove()


def ask(vlm: VLM, options: CropOptions, *questions: str) -> list[GroundedAnswer]:
    name: MethodName = "vicrop" if isinstance(options, vicrop.VicropOptions) else "carve"
    requests = [
        AnswerRequest(image=picture(), question=question, method=name, max_new_tokens=1)
        for question in questions
    ]
    return LocalEngine(vlm, options).answer(requests)


def assert_same(found: Sequence[GroundedAnswer], wanted: Sequence[GroundedAnswer]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.localisation is not None
        assert other.localisation is not None
        maps = (torch.tensor(each.localisation.map) for each in (one, other) if each.localisation)
        torch.testing.assert_close(*maps, atol=1e-5, rtol=1e-5)
        assert (one.crop_boxes, one.answer) == (other.crop_boxes, other.answer)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("family", ["llava", "paligemma"])
def test_the_second_question_does_not_read_it_again(family: str, options: CropOptions) -> None:
    """A row less of whole passes, its tokens less of shared ones; map and answer stay the same."""
    vlm = replace(TOY_FAMILIES[family]())
    ask(vlm, options, FIRST)
    with passes(vlm) as made:
        found = ask(vlm, options, SECOND)
    forget_looks(vlm)
    with passes(vlm) as more:
        wanted = ask(vlm, options, SECOND)
    (rows, tokens), (both_rows, both_tokens) = made[0], more[0]
    if family == "llava":
        assert (rows, both_rows) == (1, 1)
        assert tokens + len(GENERAL.split()) <= both_tokens
    else:
        assert (rows, both_rows) == (1, 2)
    assert_same(found, wanted)


def forget_looks(vlm: VLM) -> None:
    """Leave the prefix of the image alone in the cache."""
    held = vlm.prefixes._held
    (look,) = [key for key in held if GENERAL in key]
    vlm.prefixes.nbytes -= held.pop(look).nbytes


@pytest.mark.parametrize("family", ["llava", "paligemma"])
def test_questions_of_one_batch_share_it(family: str) -> None:
    vlm = replace(TOY_FAMILIES[family](), prefix_cache_bytes=0)
    with passes(vlm) as made:
        together = ask(vlm, OPTIONS[1], FIRST, SECOND)
    assert made[0][0] == (1 if family == "llava" else 3)
    assert len(vlm.prefixes) == 0
    assert_same(together, [ask(vlm, OPTIONS[1], each)[0] for each in (FIRST, SECOND)])


def test_it_is_held_to_the_budget_and_goes_with_the_weights() -> None:
    toy = TOY_FAMILIES["paligemma"]()
    vlm = replace(toy, model=deepcopy(toy.model))
    ask(vlm, OPTIONS[1], FIRST)
    small = replace(vlm, prefix_cache_bytes=vlm.prefixes.nbytes - 1)
    ask(small, OPTIONS[1], FIRST)
    assert (len(vlm.prefixes), len(small.prefixes)) == (1, 0)
    with torch.no_grad():
        next(vlm.model.parameters()).mul_(1.5)
    with passes(vlm) as made:
        ask(vlm, OPTIONS[1], FIRST)
    assert made[0][0] == 2
