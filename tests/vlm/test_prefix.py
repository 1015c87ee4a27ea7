"""Going on from prefilled images equals whole passes, whoever asked in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from laser_tools.errors import Cancelled
from laser_tools.grounding.regions import Region
from laser_tools.grounding.vat import VATFusion
from laser_tools.methods.hide import hidden_tokens, with_hidden_keys
from laser_tools.methods.localise import reading
from laser_tools.options import LaserOptions
from laser_tools.schema import Box
from laser_tools.vlm.decode import Limits, decode
from laser_tools.vlm.load import VLM
from laser_tools.vlm.prefix import prefilled
from laser_tools.vlm.prompts import Encoded, Prompt, encode, rest, token_layout, visual_positions
from laser_tools.vlm.session import Session
from tests.toy_families import (
    toy_idefics3,
    toy_internvl,
    toy_llava_next,
    toy_llava_onevision,
    toy_smolvlm,
)
from tests.toys import picture, toy_llava, toy_qwen

TOYS = pytest.mark.parametrize("toy", [toy_llava, toy_qwen])
SHARING = pytest.mark.parametrize(
    "toy", [toy_llava, toy_qwen, toy_llava_next, toy_internvl, toy_idefics3, toy_smolvlm]
)
IMAGE, WIDE, TALL = picture(), picture(400, 200, 1), picture(200, 300, 2)
PROMPTS = (
    Prompt((IMAGE,), "what colour is the star?"),
    Prompt((IMAGE,), None),
    Prompt((WIDE, TALL), "where?"),
    Prompt((IMAGE, WIDE), "how many red circle are there?", "answer one word"),
)
LIMITS = [Limits(4)] * len(PROMPTS)


def fresh(vlm: VLM) -> VLM:
    """The same model with nothing prefilled."""
    return replace(vlm)


@torch.no_grad()
def logits(vlm: VLM, encoded: Encoded) -> Tensor:
    """(B, V) at the end of each prompt."""
    cache = encoded.past_key_values()
    if cache is None:
        return _last(vlm.model(**encoded.inputs).logits)
    inputs = rest(encoded.inputs, cache.get_seq_length())
    return _last(vlm.model(**inputs, past_key_values=cache).logits)


def _last(found: Tensor) -> Tensor:
    return found[:, -1]


def visible_ids(encoded: Encoded) -> list[list[int]]:
    ids, mask = encoded.inputs["input_ids"], encoded.inputs["attention_mask"].bool()
    return [row[seen].tolist() for row, seen in zip(ids, mask, strict=True)]


@SHARING
def test_the_tokens_are_the_processors(toy: Callable[[], VLM]) -> None:
    vlm = fresh(toy())
    assert visible_ids(prefilled(Session(vlm), PROMPTS)) == visible_ids(encode(vlm, PROMPTS))


@SHARING
def test_logits_and_attention_rows_equal_those_of_whole_passes(toy: Callable[[], VLM]) -> None:
    vlm, options = fresh(toy()), LaserOptions(readout="question")
    whole, shared = encode(vlm, PROMPTS), prefilled(Session(vlm), PROMPTS)
    rows: list[Sequence[Tensor]] = []
    for encoded in (whole, shared):
        with reading(vlm, encoded, options) as sink:
            logits(vlm, encoded)
        rows.append(sink.rows())
    for one, other in zip(*rows, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    torch.testing.assert_close(logits(vlm, whole), logits(vlm, shared), atol=1e-4, rtol=0)


@SHARING
def test_answers_equal_those_of_whole_passes(toy: Callable[[], VLM]) -> None:
    vlm = fresh(toy())
    whole = decode(vlm, encode(vlm, PROMPTS), LIMITS)
    shared = decode(vlm, prefilled(Session(vlm), PROMPTS), LIMITS)
    for one, other in zip(whole, shared, strict=True):
        assert one.text == other.text
        assert [m.margin for m in one.margins] == pytest.approx(
            [m.margin for m in other.margins], abs=1e-4
        )


@TOYS
def test_requests_in_between_change_nothing(toy: Callable[[], VLM]) -> None:
    """Qwen keeps `rope_deltas` of its last request on itself: nobody here goes by them."""
    vlm = fresh(toy())
    session, other = Session(vlm), Session(vlm)
    waiting = prefilled(session, PROMPTS)
    expected = logits(vlm, waiting)
    decode(vlm, prefilled(other, [Prompt((TALL,), "is it red?")]), [Limits(3)])
    logits(vlm, encode(vlm, [Prompt((TALL,), "what number is on the star?")]))
    assert torch.equal(logits(vlm, waiting), expected)
    assert torch.equal(logits(vlm, prefilled(session, PROMPTS)), expected)


@TOYS
def test_an_image_is_prefilled_once(
    toy: Callable[[], VLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm, seen = fresh(toy()), list[str]()
    features = vlm.model.model.get_image_features

    def noted(*args: object, **options: object) -> object:
        seen.append("pass")
        return features(*args, **options)

    monkeypatch.setattr(vlm.model.model, "get_image_features", noted)
    session = Session(vlm, [IMAGE])
    prefilled(session, PROMPTS[:2])
    assert len(seen) == 1
    prefilled(session, [PROMPTS[3]])  # its first image is held, its second is not
    assert len(seen) == 2
    later = Session(vlm)
    prefilled(later, [PROMPTS[1], Prompt((IMAGE.copy(),), "is it red?")])  # pixels, not identity
    assert len(seen) == 2
    assert later.hits(IMAGE) == 1
    assert session.hits(IMAGE) == 0


@TOYS
def test_a_prefix_keeps_no_more_memory_alive_than_its_bytes(toy: Callable[[], VLM]) -> None:
    """Not the batch that it was made in, nor what stood before it."""
    for row in prefilled(Session(fresh(toy())), PROMPTS).past:
        for segment in row:
            states = [one for pair in segment.states for one in pair]
            assert all(one.untyped_storage().nbytes() == one.nbytes for one in states)
            assert segment.nbytes > sum(one.nbytes for one in states)


def test_only_the_callers_images_are_kept() -> None:
    vlm = fresh(toy_llava())
    prefilled(Session(vlm, [IMAGE]), PROMPTS)
    assert len(vlm.prefixes) == 1
    nothing = replace(vlm, prefix_cache_bytes=0)
    prefilled(Session(nothing, [IMAGE]), PROMPTS)
    assert len(nothing.prefixes) == 0


def round_trip(model: torch.nn.Module) -> None:
    """Weights rounded to bfloat16."""
    model.to(torch.bfloat16).to(torch.float32)


def nudge(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.01)


@TOYS
@pytest.mark.parametrize("change", [round_trip, nudge])
def test_changed_weights_go_on_from_nothing_old(
    toy: Callable[[], VLM], change: Callable[[torch.nn.Module], None]
) -> None:
    vlm = replace(toy(), model=deepcopy(toy().model))
    prefilled(Session(vlm, [IMAGE]), PROMPTS[:2])
    change(vlm.model)
    session = Session(vlm, [IMAGE])
    shared = prefilled(session, PROMPTS[:2])
    assert session.hits(IMAGE) == 0
    whole = logits(vlm, encode(vlm, PROMPTS[:2]))
    torch.testing.assert_close(logits(vlm, shared), whole, atol=1e-4, rtol=0)


def test_another_beginning_is_another_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that speaks before the image gives other keys: nothing is shared by mistake."""
    vlm = fresh(toy_llava())
    prefilled(Session(vlm, [IMAGE]), PROMPTS[:1])
    template = vlm.processor.chat_template
    monkeypatch.setattr(vlm.processor, "chat_template", template.replace("USER:", "user: describe"))
    session = Session(vlm)
    torch.testing.assert_close(
        logits(vlm, prefilled(session, PROMPTS[:1])), logits(vlm, encode(vlm, PROMPTS[:1]))
    )
    assert session.hits(IMAGE) == 0


def test_a_family_that_cannot_share_takes_whole_passes() -> None:
    vlm = fresh(toy_llava())
    object.__setattr__(vlm, "family", replace(vlm.family, unshareable="a test"))
    encoded = prefilled(Session(vlm), PROMPTS)
    assert not encoded.past
    assert torch.equal(logits(vlm, encoded), logits(vlm, encode(vlm, PROMPTS)))


@TOYS
def test_with_nothing_hidden_both_streams_are_greedy(toy: Callable[[], VLM]) -> None:
    vlm, options = fresh(toy()), LaserOptions(view="crop")
    prompts = PROMPTS[:2]
    nothing = Region(evidence=(), crop=Box(x0=0, y0=0, x1=300, y1=260), masked=())
    both = prefilled(Session(vlm), prompts * 2)
    blind = with_hidden_keys(vlm, both, [nothing] * 2, options)
    fused = decode(vlm, blind, LIMITS[:2], VATFusion(alpha=2.0))
    greedy = decode(vlm, prefilled(Session(vlm), prompts), LIMITS[:2])
    for one, two in zip(greedy, fused, strict=True):
        assert [m.token for m in one.margins] == [m.token for m in two.margins]
        assert [m.vat_margin for m in two.margins] == pytest.approx([0.0] * 4, abs=1e-4)


@SHARING
def test_hidden_keys_are_those_of_the_evidence_in_both_images(toy: Callable[[], VLM]) -> None:
    """Only the negative row loses them, only behind the images, and no position moves."""
    vlm, options = fresh(toy()), LaserOptions(view="image+crop")
    crop = Box(x0=100, y0=40, x1=240, y1=180)
    prompt = Prompt((IMAGE, IMAGE.crop(crop.as_tuple())), "where is the star?")
    region = Region(evidence=(), crop=crop, masked=(Box(x0=140, y0=80, x1=200, y1=140),))
    both = prefilled(Session(vlm), [prompt] * 2)
    blind = with_hidden_keys(vlm, both, [region], options)
    lost = both.inputs["attention_mask"] - blind.inputs["attention_mask"]
    assert lost[0].sum() == 0
    visual = visual_positions(vlm, both)[1]
    assert 0 < lost[1].sum() < len(visual) / 2
    per_image = [int((s.input_ids == vlm.model.config.image_token_id).sum()) for s in both.past[1]]
    assert all(part.any() for part in torch.split(lost[1][visual], per_image))
    assert lost[1].sum() == lost[1][visual].sum()
    assert torch.equal(both.inputs["position_ids"], blind.inputs["position_ids"])
    rows = logits(vlm, blind)
    torch.testing.assert_close(rows[0], logits(vlm, both)[0])
    assert not torch.allclose(rows[0], rows[1])


@pytest.mark.parametrize("toy", [toy_llava_next, toy_internvl, toy_idefics3, toy_smolvlm])
def test_hidden_keys_are_hidden_in_the_overview_too(toy: Callable[[], VLM]) -> None:
    """A tiled image is there twice; each copy loses the same share of its tokens, or about."""
    vlm, options = fresh(toy()), LaserOptions(view="crop")
    size = Box(x0=0, y0=0, x1=IMAGE.width, y1=IMAGE.height)
    left_half = size.model_copy(update={"x1": IMAGE.width // 2})
    region = Region(evidence=(), crop=size, masked=(left_half,))
    encoded = prefilled(Session(vlm), [Prompt((IMAGE,), "where?")])
    hidden = hidden_tokens(vlm, encoded, 0, region, options)
    layout = token_layout(vlm, encoded, 0, len(hidden))
    assert layout.overview is not None
    for cells in (hidden[layout.tokens], hidden[layout.overview]):
        assert cells[:, 0].all()
        assert not cells[:, -1].any()


def test_images_that_are_cut_up_otherwise_beside_others_are_not_shared() -> None:
    """LLaVA-OneVision tiles an image only where it is its prompt's only one."""
    vlm = toy_llava_onevision()
    n_visual = [
        len(visual_positions(vlm, encode(vlm, [Prompt(images, "where?")]))[0])
        for images in ((IMAGE,), (WIDE,), (IMAGE, WIDE))
    ]
    assert n_visual[2] < n_visual[0] + n_visual[1]
    assert not vlm.family.prefix_sharing


def test_a_call_that_is_no_longer_wanted_ends() -> None:
    session = Session(fresh(toy_llava()), should_stop=lambda: True)
    with pytest.raises(Cancelled):
        prefilled(session, PROMPTS)
