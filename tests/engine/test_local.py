from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import sleep

import pytest
import torch
from pydantic import ValidationError
from tokenizers import normalizers

from laser_tools.engine.local import LocalEngine
from laser_tools.errors import InvalidRequest, ModelUnavailable, TooLarge
from laser_tools.evaluation.same_answer import differences
from laser_tools.grounding.confidence import Calibration, Logistic
from laser_tools.grounding.risk import ErrorBounds
from laser_tools.methods import METHODS, plain
from laser_tools.methods.base import Method
from laser_tools.options import (
    PAPER,
    SHAPE_LASER_ANSWERS,
    SHAPE_NO_ANSWER,
    LaserOptions,
    PromptOptions,
)
from laser_tools.schema import AnswerRequest, Box, GroundedAnswer, MethodName, ZoomRequest
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.load import load_vlm
from tests.toys import picture, toy_llava, toy_qwen

OTHER = {
    "no_query": "instruction", "readout": "question", "renormalise": True, "k_head": 1, "layer": 1,
    "first_layer": 1, "aggregate": "max", "k_patch": 0.2, "box_rule": "centre", "crop_ratio": 0.7,
    "min_crop_px": 100, "view": "crop", "negative": "pixels", "mask_fill": "zero", "alpha": 1.0,
    "beta": 0.1, "direct_margin": None, "verify_margin": 1e9, "max_crops": 1, "further_share": 0.5,
    "again_margin": 1.0, "again_share": 0.5, "second_opinion": "tell", "max_crop_tokens": 64,
}  # fmt: skip
"""A value of each option that shapes LASER's answers, other than its default."""


def request(**changes: object) -> AnswerRequest:
    fields = {"image": picture(), "question": "where is the star?", "max_new_tokens": 2}
    return AnswerRequest.model_validate(fields | changes)


BOUNDS = ErrorBounds(n=300, thresholds=(0.95, 0.9, 0.5), bounds=(0.02, 0.05, 0.2))


def calibrated(intercept: float, **changes: object) -> LocalEngine:
    """An engine, `changes` to its options, over a model calibrated with the default ones.

    Every verified answer has probability sigmoid(intercept).
    """
    logistic = Logistic(mean=(0.0,), scale=(1.0,), weights=(0.0,), intercept=intercept)
    calibration = Calibration(
        model_hash="",
        n=1,
        split="validation",
        options=LaserOptions.model_validate({k: v for k, v in changes.items() if k in WORDS}),
        features=("margin_first",),
        routes={"verify": logistic},
        error_bounds={"laser": BOUNDS},
    )
    vlm = replace(toy_llava(), calibration=calibration)
    return LocalEngine(vlm, LaserOptions.model_validate(changes))


def test_an_unsure_answer_is_withheld_only_where_the_caller_asked() -> None:
    sure, unsure = calibrated(2.0), calibrated(-2.0)
    (kept,) = sure.answer([request(abstain_below=0.5)])
    assert kept.confidence == pytest.approx(0.8808, abs=1e-4)
    assert kept.abstain is None
    (told,) = unsure.answer([request()])
    assert told.answer == kept.answer
    (withheld,) = unsure.answer([request(abstain_below=0.5)])
    assert (withheld.answer, withheld.abstain) == ("not sure", "not_sure")
    assert [line.split(":")[0] for line in differences(withheld, told)] == ["abstain", "answer"]


@pytest.mark.parametrize(
    ("max_error", "said"),
    [(0.2, None), (0.1, "not sure"), (0.01, "not sure: .* max_error 0.01; the least .* 0.020")],
)
def test_an_answer_is_given_where_so_few_like_it_are_wrong(
    max_error: float, said: str | None
) -> None:
    engine = calibrated(2.0)  # .8808
    (told,), (answer,) = engine.answer([request()]), engine.answer([request(max_error=max_error)])
    assert answer.confidence == pytest.approx(0.8808, abs=1e-4)
    assert answer.abstain == (said and "not_sure")
    assert re.fullmatch(told.answer if said is None else said, answer.answer)


def test_an_answer_without_a_confidence_is_not_given_under_max_error() -> None:
    engine = calibrated(2.0)
    calibration = replace_routes(engine, "zoom")
    (answer,) = replace(engine, vlm=replace(engine.vlm, calibration=calibration)).answer(
        [request(max_error=0.2)]
    )
    assert (answer.answer, answer.confidence) == ("not sure", None)


def replace_routes(engine: LocalEngine, route: str) -> Calibration:
    """The engine's calibration, for another route alone."""
    calibration = engine.vlm.calibration
    assert calibration is not None
    (logistic,) = calibration.routes.values()
    return calibration.model_copy(update={"routes": {route: logistic}})


@pytest.mark.parametrize(
    ("engine", "asked"),
    [
        (lambda: LocalEngine(toy_llava()), {}),
        (lambda: calibrated(2.0, alpha=1.0), {}),
        (lambda: calibrated(2.0), {"method": "plain"}),
        (lambda: calibrated(2.0), {"method": "vicrop"}),
        (lambda: calibrated(2.0), {"box": Box(x0=0, y0=0, x1=9, y1=9)}),
    ],
    ids=["no calibration", "other options", "no bounds", "another method", "a box"],
)
def test_max_error_without_what_it_needs_is_refused(
    engine: Callable[[], LocalEngine], asked: dict[str, object]
) -> None:
    with pytest.raises(InvalidRequest, match="laser-tools calibrate"):
        engine().answer([request(), request(max_error=0.1, **asked)])
    (told,) = engine().answer([request(**asked)])
    assert told.confidence is None


def test_two_rules_for_abstaining_are_refused() -> None:
    with pytest.raises(ValidationError, match="not both"):
        request(max_error=0.1, abstain_below=0.5)


def test_without_a_calibration_there_is_no_number_and_no_abstaining() -> None:
    (answer,) = LocalEngine(toy_llava()).answer([request(abstain_below=1.0)])
    assert answer.confidence is None
    assert answer.abstain is None
    (plain,) = calibrated(0.0).answer([request(method="plain", abstain_below=1.0)])
    assert plain.confidence is None  # this calibration knows the verify route only
    assert plain.abstain is None


def test_a_choice_that_begins_another_has_margins_and_a_confidence() -> None:
    choices = ("red", "red star"), ("red", "red circle"), ("red", "red describe")
    answers = calibrated(2.0).answer([request(choices=two) for two in choices])
    assert "red" in [answer.answer for answer in answers]
    for answer in answers:
        assert len(answer.margins) == 1
        assert answer.confidence == pytest.approx(0.8808, abs=1e-4)


# the gate's other value needs a router: tests/visor/test_laser.py
@pytest.mark.parametrize("name", sorted(SHAPE_LASER_ANSWERS - {"gate"}))
def test_options_other_than_the_fitted_ones_have_no_confidence(name: str) -> None:
    engine = calibrated(2.0, **{name: OTHER[name]})
    (answer,) = engine.answer([request(abstain_below=0.99)])
    assert answer.confidence is None
    assert answer.abstain is None
    assert answer.margins


@pytest.mark.parametrize(
    "changes", [{"max_evidence": 1}, {"zoom_template": "find the {what}"}], ids=str
)
def test_options_that_shape_no_answer_change_neither_margins_nor_confidence(
    changes: dict[str, object],
) -> None:
    assert set(changes) <= SHAPE_NO_ANSWER
    (before,), (after,) = (
        engine.answer([request()]) for engine in (calibrated(2.0), calibrated(2.0, **changes))
    )
    assert after.confidence == pytest.approx(before.confidence)
    assert [m.margin for m in after.margins] == pytest.approx([m.margin for m in before.margins])


def test_the_embedded_model_is_calibrated_for_the_default_options_only() -> None:
    vlm, asked = load_vlm("pico", device="cpu"), request(question="how many shapes are there?")
    plainly = asked.model_copy(update={"method": "plain"})
    default, whole = LocalEngine(vlm).answer([asked, plainly])
    assert default.confidence is not None
    paper, under_paper = LocalEngine(vlm, PAPER).answer([asked, plainly])
    assert paper.confidence is None
    assert under_paper.confidence == pytest.approx(whole.confidence)
    (cropped,) = LocalEngine(vlm, LaserOptions(view="crop")).answer([asked])
    assert cropped.confidence is None or cropped.route == "plain"


@pytest.mark.parametrize("method", ["plain", "laser"])
def test_an_empty_answer_abstains_and_has_no_confidence(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = calibrated(2.0)
    (said,) = engine.answer([request(method=method)])
    tokenizer = engine.vlm.processor.tokenizer
    first = tokenizer.convert_tokens_to_ids(said.margins[0].token)
    monkeypatch.setattr(engine.vlm.model.generation_config, "eos_token_id", first)
    (silent,) = engine.answer([request(method=method)])
    assert (silent.answer, silent.abstain, silent.confidence) == ("not sure", "not_sure", None)
    assert silent.margins


WORDS = {"says_not_there": ("Red.", "green"), "says_unclear": ("STAR", "circle")}


@pytest.mark.parametrize(
    ("choices", "why"),
    [(("red", "green"), "not_there"), (("star", "circle"), "unclear"), (("yes", "no"), None)],
)
def test_an_answer_that_says_so_abstains_in_its_own_words(
    choices: tuple[str, str], why: str | None
) -> None:
    engine = calibrated(2.0, **WORDS)
    for rule in ({}, {"abstain_below": 0.5}, {"max_error": 0.2}):
        (answer,) = engine.answer([request(choices=choices, **rule)])
        assert answer.answer in choices
        assert answer.abstain == why
        assert answer.confidence == (0.0 if why else pytest.approx(0.8808, abs=1e-4))


def test_an_answer_that_says_so_abstains_with_every_method() -> None:
    engine = LocalEngine(toy_llava(), LaserOptions.model_validate(WORDS))
    for method in ("laser", "plain", "vicrop"):
        (answer,) = engine.answer([request(choices=("red", "green"), method=method)])
        assert (answer.abstain, answer.confidence) == ("not_there", None)


def test_order_is_kept_across_methods_and_batches() -> None:
    asked = [
        request(question=question, method=method)
        for question in ("where?", "is it red?", "how many?")
        for method in ("plain", "laser")
    ]
    engine = LocalEngine(toy_llava(), batch_size=2)
    answers = engine.answer(asked)
    assert [answer.method for answer in answers] == ["plain", "laser"] * 3
    for answer, other in zip(answers, asked, strict=True):
        assert answer.answer == engine.answer([other])[0].answer
    assert engine.answer([]) == []
    assert engine.zoom([]) == []


@pytest.mark.parametrize("size", [(6000, 20), (20, 6000)])
def test_an_image_that_the_family_cannot_take_is_refused_before_any_work(
    size: tuple[int, int],
) -> None:
    """Qwen's image processor takes no image beyond 200:1; others do."""
    thin = [request(), request(image=picture(*size))]
    look = [ZoomRequest(image=picture(*size), what="the star")]
    engine = LocalEngine(toy_qwen())
    with pytest.raises(InvalidRequest, match=f"200 times.*{size[0]}x{size[1]}"):
        engine.answer(thin)
    with pytest.raises(InvalidRequest, match=f"200 times.*{size[0]}x{size[1]}"):
        engine.zoom(look)
    assert len(LocalEngine(toy_llava()).answer(thin)) == 2
    assert len(LocalEngine(toy_llava()).zoom(look)) == 1


def test_an_image_just_within_what_the_family_takes_is_answered() -> None:
    (answer,) = LocalEngine(toy_qwen()).answer([request(image=picture(4000, 20))])
    assert answer.image_size == (4000, 20)


def test_a_box_outside_the_image_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="300x260"):
        LocalEngine(toy_llava()).answer([request(box=Box(x0=0, y0=0, x1=301, y1=10))])


def test_a_layer_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="4 layers"):
        LocalEngine(toy_llava(), LaserOptions(layer=7)).answer([request()])


def test_a_missing_model_is_unavailable() -> None:
    with pytest.raises(ModelUnavailable, match="no model 'nowhere'"):
        LocalEngine.from_pretrained("nowhere")


def test_threads_take_turns_on_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = list[int](), list[int]()

    def slow(
        call: ModelCall, requests: Sequence[AnswerRequest], options: PromptOptions
    ) -> list[GroundedAnswer]:
        inside.append(1)
        most.append(len(inside))
        sleep(0.01)
        inside.pop()
        return plain.answer(call, requests, options)

    monkeypatch.setitem(METHODS, "plain", Method(slow, PromptOptions))
    engines = [LocalEngine(toy_llava()), LocalEngine(toy_llava(), LaserOptions(alpha=0.5))] * 3
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda engine: engine.answer([request(method="plain")]), engines))
    assert most == [1] * 6


def on_a_gpu() -> None:
    raise torch.OutOfMemoryError("tried to allocate 20 GiB")


def on_a_cpu() -> None:
    torch.empty(2**50, dtype=torch.uint8)


def in_python() -> None:
    bytes(2**50)


def runs_out_of_memory(
    monkeypatch: pytest.MonkeyPatch,
    fits: int,
    huge: str = "",
    fail: Callable[[], None] = on_a_gpu,
) -> list[int]:
    """Plain batches of more than `fits` requests, or with the question `huge`, do not fit.

    Returns the sizes of the batches that are tried.
    """
    sizes = list[int]()

    def tight(
        call: ModelCall, requests: Sequence[AnswerRequest], options: PromptOptions
    ) -> list[GroundedAnswer]:
        sizes.append(len(requests))
        answers = plain.answer(call, requests, options)
        if len(requests) > fits or any(asked.question == huge for asked in requests):
            fail()
        return answers

    monkeypatch.setitem(METHODS, "plain", Method(tight, PromptOptions))
    return sizes


@pytest.mark.parametrize("fail", [on_a_gpu, on_a_cpu, in_python])
def test_a_batch_that_does_not_fit_goes_on_in_halves(
    monkeypatch: pytest.MonkeyPatch, fail: Callable[[], None]
) -> None:
    engine = LocalEngine(toy_llava())
    asked = [request(question=q, method="plain") for q in ("where?", "how?", "red?", "who?", "a?")]
    expected = [answer.answer for answer in engine.answer(asked)]
    sizes = runs_out_of_memory(monkeypatch, fits=2, fail=fail)
    assert [answer.answer for answer in engine.answer(asked)] == expected
    assert sizes == [5, 2, 2, 1]


def test_a_request_that_never_fits_is_told_and_the_next_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = LocalEngine(toy_llava())
    sizes = runs_out_of_memory(monkeypatch, fits=1, huge="huge?")
    with pytest.raises(TooLarge, match="use a smaller image"):
        engine.answer([request(question="huge?", method="plain")])
    assert sizes == [1, 1]  # the second time without the prefixes of earlier requests
    assert len(engine.vlm.prefixes) == engine.vlm.prefixes.nbytes == 0
    assert len(engine.answer([request(method="plain")])) == 1


def test_asking_twice_gives_the_same_answer() -> None:
    engine = LocalEngine(toy_llava())
    first, other, again = (
        engine.answer([request(question=question)])[0]
        for question in ("where?", "how many red circle are there?", "where?")
    )
    assert differences(again, first) == []
    assert differences(other, first)


def test_a_question_is_bounded_in_tokens_too() -> None:
    """A tokenizer may write one character as eighteen: here each becomes four words."""
    vlm = toy_llava.__wrapped__()
    vlm.processor.tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    engine, long = LocalEngine(vlm), "\ufdfa " * 501
    assert engine.answer([request(question="\ufdfa " * 20)])
    with pytest.raises(InvalidRequest, match=r"2004 tokens; the most are 2000\. Shorten it"):
        engine.answer([request(question=long)])
    with pytest.raises(InvalidRequest, match="Shorten it"):
        engine.zoom([ZoomRequest(image=picture(), what=long)])


@pytest.mark.parametrize("method", ["plain", "vcd"])
def test_a_method_that_does_not_crop_takes_no_box(method: MethodName) -> None:
    request = AnswerRequest(
        image=picture(), question="what?", method=method, box=Box(x0=0, y0=0, x1=9, y1=9)
    )
    with pytest.raises(InvalidRequest, match="takes no box"):
        LocalEngine(toy_llava()).answer([request])
