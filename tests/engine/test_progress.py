"""Progress of the packaged model: tokens only of the answer that is given."""

from __future__ import annotations

from itertools import islice

import pytest

from laser_tools.engine import LocalEngine
from laser_tools.evaluation.benchmarks.microscenes.items import draw_items
from laser_tools.images.upright import UprightImage
from laser_tools.options import LaserOptions
from laser_tools.progress import Event, StageEvent, TokenEvent
from laser_tools.schema import AnswerRequest, GroundedAnswer
from laser_tools.vlm.model import VLM
from laser_tools.vlm.telling import ALWAYS, NEVER, Teller

N_ITEMS = 3
NO_LIMIT = 1e9  # logits, more than any margin


@pytest.fixture(scope="module")
def vlm() -> VLM:
    return LocalEngine.from_pretrained("pico").vlm


def asked(vlm: VLM, options: LaserOptions, **fields: object) -> list[tuple[GroundedAnswer, str]]:
    """Answers in one batch, each with the text of its tokens."""
    heard: list[list[Event]] = [[] for _ in range(N_ITEMS)]
    items = islice(draw_items("validation", N_ITEMS, 0), N_ITEMS)
    requests = [
        AnswerRequest.model_validate(
            {
                "image": UprightImage.of(item.image),
                "question": item.question,
                "listener": events.append,
                **fields,
            }
        )
        for item, events in zip(items, heard, strict=True)
    ]
    answers = LocalEngine(vlm, options).answer(requests)
    for events in heard:
        stages = [event.stage for event in events if isinstance(event, StageEvent)]
        assert stages[0] == "encode"
        assert "decode" in stages
    return list(zip(answers, map(text_of, heard), strict=True))


def text_of(events: list[Event]) -> str:
    text = ""
    for event in events:
        if isinstance(event, TokenEvent):
            assert event.start == len(text)  # nothing is taken back
            text += event.token
    return text


FINAL = [
    (LaserOptions(), {"method": "plain"}, "plain"),
    (LaserOptions(direct_margin=-NO_LIMIT), {}, "direct"),
    (LaserOptions(direct_margin=None, verify_margin=-NO_LIMIT), {}, "zoom"),
    (LaserOptions(direct_margin=None, verify_margin=NO_LIMIT, again_margin=None), {}, "verify"),
    (LaserOptions(direct_margin=NO_LIMIT, again_margin=None), {"choices": ("511", "7")}, "verify"),
]


@pytest.mark.parametrize(("options", "fields", "route"), FINAL, ids=[r for _, _, r in FINAL])
def test_the_tokens_are_the_answer(
    vlm: VLM, options: LaserOptions, fields: dict[str, object], route: str
) -> None:
    """Once the route is known to be the last one; what earlier routes decoded is not told."""
    for answer, text in asked(vlm, options, **fields):
        assert answer.route == route
        assert text == answer.answer


DOUBTED = LaserOptions(direct_margin=None, again_margin=NO_LIMIT, again_share=0.0)


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (DOUBTED, {}),
        (LaserOptions(), {"abstain_below": 0.0}),
        (LaserOptions(), {"max_error": 0.5}),
        (LaserOptions(presence_margin=0.0), {"method": "plain"}),
    ],
)
def test_an_answer_that_may_change_comes_in_no_tokens(
    vlm: VLM, options: LaserOptions, fields: dict[str, object]
) -> None:
    """It may be looked for again inside its crop, or be withheld."""
    assert [text for _, text in asked(vlm, options, **fields)] == [""] * N_ITEMS


def test_pieces_are_told_once_the_margin_is_known() -> None:
    heard: list[TokenEvent] = []
    teller = Teller(heard.append, 2.0)  # type: ignore[arg-type]
    teller.tell("a")  # forced by a choice: nothing has been decided
    assert (heard, teller.awaits_margin) == ([], True)
    teller.decide(2.0)
    teller.tell("ab")
    teller.tell("ab")
    teller.tell("ab\ufffd")  # half a character
    teller.tell("abé")
    teller.tell("abéX")
    teller.tell("ab. X")  # a tokenizer that sets blanks anew
    assert [(event.start, event.token) for event in heard] == [
        (0, "ab"), (2, "é"), (3, "X"), (2, ". X"),
    ]  # fmt: skip


@pytest.mark.parametrize(("final_from", "told"), [(ALWAYS, ["a"]), (2.0, []), (NEVER, [])])
def test_an_answer_below_its_margin_is_not_told(final_from: float, told: list[str]) -> None:
    heard: list[TokenEvent] = []
    teller = Teller(heard.append, final_from)  # type: ignore[arg-type]
    if teller.awaits_margin:
        teller.decide(1.9)
    teller.tell("a")
    assert [event.token for event in heard] == told
