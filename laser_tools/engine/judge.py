"""An answer on its way out: how sure it is, and whether it is given or withheld."""

from __future__ import annotations

import math

from laser_tools.errors import InvalidRequest
from laser_tools.grounding.abstain import abstention
from laser_tools.grounding.confidence import Calibration, features, second
from laser_tools.grounding.risk import ErrorBounds
from laser_tools.methods import METHODS
from laser_tools.options import PromptOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer

NOT_SURE = "not sure"


def covering(
    calibration: Calibration | None, request: AnswerRequest, options: PromptOptions
) -> Calibration | None:
    """The calibration, if it was fitted to answers of this method under these options.

    None was fitted to answers that were told in which box to look.
    """
    if calibration is None or request.box or not METHODS[request.method].calibrated:
        return None
    return calibration if calibration.holds_for(request.method, options) else None


def check_max_error(request: AnswerRequest, calibration: Calibration | None) -> None:
    """Refuse a `max_error` that no calibration speaks of. Raises InvalidRequest."""
    if request.max_error is None:
        return
    if calibration is None or request.method not in calibration.error_bounds:
        raise InvalidRequest(
            "max_error needs a calibration of this model, for this method and these options and "
            "without a box. Make it with 'laser-tools calibrate', or leave max_error out."
        )


def judged(
    request: AnswerRequest,
    answer: GroundedAnswer,
    calibration: Calibration | None,
    options: PromptOptions,
) -> GroundedAnswer:
    """The answer with its probability; withheld if empty, or where the caller asked for more.

    `calibration` is one that covers the request.
    """
    choose = getattr(options, "second_opinion", "none") == "choose" and answer.abstain is None
    if calibration is not None and choose:
        answer = surer(answer, calibration, options)
    if not answer.answer:
        return _withheld(answer, NOT_SURE)
    if reason := answer.abstain or abstention(answer.answer, options):
        confidence = None if calibration is None else 0.0  # it names nothing that could be right
        return answer.model_copy(update={"abstain": reason, "confidence": confidence})
    if calibration is None:
        return answer
    sure = calibration.probability(features(answer), answer.route)
    answer = answer.model_copy(update={"confidence": sure})
    if request.max_error is not None:
        return _within(request.max_error, answer, calibration.error_bounds[request.method])
    least = request.abstain_below
    unsure = sure is not None and least is not None and sure < least
    return _withheld(answer, NOT_SURE) if unsure else answer


def surer(
    answer: GroundedAnswer, calibration: Calibration, options: PromptOptions
) -> GroundedAnswer:
    """The answer, or the whole image's if that is the likelier one to be right."""
    other = second(answer)
    if other is None:
        return answer
    ours, theirs = (
        calibration.worth(features(a), a.route, says_none=abstention(a.answer, options) is not None)
        for a in (answer, other)
    )
    return other if theirs > ours else answer


def _within(max_error: float, answer: GroundedAnswer, bounds: ErrorBounds) -> GroundedAnswer:
    """The answer if it may be given under `max_error`; without a confidence it may not."""
    threshold = bounds.threshold(max_error)
    if threshold is None:
        return _withheld(answer, _out_of_reach(max_error, bounds.least))
    given = answer.confidence is not None and answer.confidence >= threshold
    return answer if given else _withheld(answer, NOT_SURE)


def _out_of_reach(max_error: float, least: float | None) -> str:
    up = None if least is None else math.ceil(1000 * least) / 1000
    known = "none is known to hold" if up is None else f"the least known to hold is {up:.3f}"
    return f"{NOT_SURE}: the calibration cannot promise max_error {max_error:g}; {known}"


def _withheld(answer: GroundedAnswer, text: str) -> GroundedAnswer:
    return answer.model_copy(update={"answer": text, "abstain": "not_sure"})
