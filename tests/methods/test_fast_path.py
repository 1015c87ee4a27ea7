"""One prefilled image serves all that is asked about it, and the answers stay the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import pytest
from torch import Tensor

from laser_tools.engine import LocalEngine
from laser_tools.errors import Cancelled, InvalidRequest
from laser_tools.evaluation.same_answer import differences
from laser_tools.options import PAPER, LaserOptions, Negative
from laser_tools.schema import AnswerRequest, ZoomRequest
from laser_tools.vlm.model import VLM
from tests.toys import picture, toy_llava, toy_qwen

TOYS = pytest.mark.parametrize("toy", [toy_llava, toy_qwen])
OPTIONS = pytest.mark.parametrize(
    "options",
    [
        PAPER,
        LaserOptions(negative="keys"),
        LaserOptions(negative="keys", view="crop", readout="question"),
        LaserOptions(direct_margin=0.1, verify_margin=0.1, negative="keys"),
    ],
)


def requests() -> list[AnswerRequest]:
    return [
        AnswerRequest(image=picture(), question="what colour is the star?", max_new_tokens=3),
        AnswerRequest(image=picture(400, 300, 1), question="where?", choices=("left", "right")),
        AnswerRequest(image=picture(), question="how many red circle?", max_new_tokens=2),
        AnswerRequest(image=picture(230, 90, 3), question="is it red?", method="plain"),
    ]


def engine(toy: Callable[[], VLM], options: LaserOptions) -> LocalEngine:
    """An engine with nothing prefilled."""
    return LocalEngine(replace(toy()), options)


@TOYS
@OPTIONS
def test_batches_and_whole_passes_answer_the_same(
    toy: Callable[[], VLM], options: LaserOptions
) -> None:
    """Whole passes cannot hide keys, so `keys` has no such twin."""
    shared = engine(toy, options).answer(requests())
    alone = [engine(toy, options).answer([request])[0] for request in requests()]
    assert [differences(*pair, 1e-4) for pair in zip(shared, alone, strict=True)] == [[]] * 4
    if options.negative == "pixels":
        slow = engine(toy, options)
        object.__setattr__(slow.vlm, "family", replace(slow.vlm.family, unshareable="a test"))
        whole = slow.answer(requests())
        assert [differences(*pair, 1e-4) for pair in zip(shared, whole, strict=True)] == [[]] * 4
        assert not any(answer.prefix_hits for answer in whole)


@TOYS
@OPTIONS
def test_a_second_question_is_answered_as_by_a_fresh_engine(
    toy: Callable[[], VLM], options: LaserOptions
) -> None:
    first, used = requests(), engine(toy, options)
    used.answer(first[:2])
    for request in (first[2], first[0].model_copy(update={"method": "plain"})):
        (again,) = used.answer([request])
        (fresh,) = engine(toy, options).answer([request])
        assert (again.prefix_hits, fresh.prefix_hits) == (1, 0)
        assert differences(again, fresh, 1e-5) == []
    (found,) = used.zoom([ZoomRequest(image=picture(), what="star")])
    assert found.prefix_hits == 1


def test_a_gate_costs_no_pass_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Question, prompt without it and image take one pass, which the direct answer goes on from."""
    asked = engine(toy_llava, LaserOptions())
    widths, forward = list[int](), asked.vlm.model.forward

    def noted(*args: object, **inputs: object) -> object:
        ids = inputs["input_ids"]
        assert isinstance(ids, Tensor)
        widths.append(ids.shape[1])
        return forward(*args, **inputs)

    monkeypatch.setattr(asked.vlm.model, "forward", noted)
    evidence = []
    for margin, route, passes in ((-1.0, "direct", 1), (None, "verify", 2), (1e9, "verify", 2)):
        widths.clear()
        options = LaserOptions(direct_margin=margin, max_crops=1)
        (answer,) = LocalEngine(replace(asked.vlm), options).answer(requests()[:1])
        assert answer.route == route
        assert sum(width > 1 for width in widths) == passes
        evidence.append([region.box for region in answer.evidence])
    assert evidence[0] == evidence[1] == evidence[2]


def test_keys_need_a_family_that_shares_prefixes() -> None:
    slow = engine(toy_llava, LaserOptions(negative="keys"))
    object.__setattr__(slow.vlm, "family", replace(slow.vlm.family, unshareable="a test"))
    with pytest.raises(InvalidRequest, match="pixels"):
        slow.answer(requests()[:1])


@TOYS
@pytest.mark.parametrize(("unshareable", "same_as"), [("", "keys"), ("a test", "pixels")])
def test_auto_hides_keys_where_prefixes_are_shared(
    toy: Callable[[], VLM], unshareable: str, same_as: Negative
) -> None:
    answers = []
    for negative in ("auto", same_as, "keys" if same_as == "pixels" else "pixels"):
        local = engine(toy, LaserOptions(negative=negative))
        family = replace(local.vlm.family, unshareable="" if negative == "keys" else unshareable)
        object.__setattr__(local.vlm, "family", family)
        answers.append(local.answer(requests()[:1])[0])
    auto, twin, other = answers
    assert differences(auto, twin, 1e-5) == []
    assert differences(auto, other, 1e-5)


def stop_at(n: int) -> Iterator[bool]:
    """A `should_stop` that says so when asked for the n-th time (from 0)."""
    return (i >= n for i in count())


@TOYS
def test_a_caller_may_leave_at_any_moment(toy: Callable[[], VLM]) -> None:
    """Stopped at its n-th question for every n, the engine is as if it had not been asked."""
    sure = {"direct_margin": 1e9, "verify_margin": 1e9}  # never
    options = PAPER.model_copy(update=sure)
    request = requests()[0].model_copy(update={"max_new_tokens": 8})
    asked = engine(toy, options)
    config = asked.vlm.model.config.get_text_config()
    before = config._attn_implementation
    (expected,) = asked.answer([request])
    for n in count():
        answers = stop_at(n)
        try:
            (late,) = asked.answer([request], should_stop=lambda: next(answers))  # noqa: B023
        except Cancelled:
            pass
        else:
            break
        assert config._attn_implementation == before
        assert not asked.vlm.lock.locked()
        assert differences(asked.answer([request])[0], expected, 1e-5) == []
    assert n > 15  # a dozen tokens, and the passes between them
    assert differences(late, expected, 1e-5) == []
