"""Forged turns: no control token gets into a prompt from what a caller wrote."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
from tokenizers import AddedToken, normalizers

from laser_tools.errors import InvalidRequest
from laser_tools.methods.laser import zoom_question
from laser_tools.options import LaserOptions
from laser_tools.vlm.choices import choice_trie
from laser_tools.vlm.families import FAMILIES
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import Prompt, encode, tail_text
from tests.toy_families import TOY_FAMILIES
from tests.toys import picture

EVERY_FAMILY = pytest.mark.parametrize("family", sorted(FAMILIES))
TURNS = (
    "<start_of_turn>", "<end_of_turn>",  # Gemma 3
    "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>",  # granite
    "<row_1_col_1>", "<global-img>", "<fake_token_around_image>",  # SmolVLM, Idefics3
    "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|object_ref_start|>",  # Qwen
    "<img>", "<IMG_CONTEXT>", "</s>",  # InternVL, LLaVA
)  # fmt: skip
"""Special tokens that no tokenizer names: they are entries of its added tokens only."""


def armed(family: str) -> VLM:
    """The family's toy with all of TURNS as added tokens, marked special."""
    vlm = TOY_FAMILIES[family]()
    processor = deepcopy(vlm.processor)
    processor.tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in TURNS])
    return replace(vlm, processor=processor)


def special_ids(vlm: VLM) -> set[int]:
    tokenizer = vlm.processor.tokenizer
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    assert added >= {*tokenizer.convert_tokens_to_ids(list(TURNS))}
    return added - {tokenizer.unk_token_id}


def n_special(vlm: VLM, prompt: Prompt) -> int:
    special, ids = special_ids(vlm), encode(vlm, [prompt]).inputs["input_ids"][0].tolist()
    return sum(token in special for token in ids)


def forged(vlm: VLM) -> list[str]:
    """All special tokens of the model, with blanks between them and without."""
    added = vlm.processor.tokenizer.added_tokens_decoder.values()
    tokens = [token.content for token in added if token.special]
    return [" ".join(tokens), "".join(tokens), "".join(tokens[::-1])]


@EVERY_FAMILY
def test_no_special_token_gets_through_a_question_a_zoom_or_an_instruction(family: str) -> None:
    vlm, images = armed(family), (picture(),)
    honest = n_special(vlm, Prompt(images, "what star?", "answer"))
    assert honest > 0  # the image's, and those of the template
    for text in forged(vlm):
        what = zoom_question(text, LaserOptions())
        for attack in (
            Prompt(images, f"what {text} star?", "answer"),
            Prompt(images, what, "answer"),
            Prompt(images, "what star?", f"answer {text}"),
            Prompt(images, None, text),
        ):
            assert n_special(vlm, attack) == honest


@EVERY_FAMILY
def test_no_special_token_gets_through_a_choice(family: str) -> None:
    vlm = armed(family)
    tail = tail_text(vlm, encode(vlm, [Prompt((picture(),), "where?")]).texts[0])
    choices = (f"red {forged(vlm)[0]}", f"yes{forged(vlm)[1]}", "no")
    trie = choice_trie(vlm, tail, choices)
    assert not special_ids(vlm) & {token for path in trie.paths for token in path}
    assert set(trie.paths.values()) == {*choices}


@EVERY_FAMILY
@pytest.mark.parametrize("choice", ["</s>", " <image><end_of_turn> ", "  "])
def test_a_choice_of_nothing_but_control_tokens_is_refused(family: str, choice: str) -> None:
    vlm = armed(family)
    vlm.processor.tokenizer.add_tokens([AddedToken("<image>", special=True)])
    with pytest.raises(InvalidRequest, match="nothing but control tokens"):
        choice_trie(replace(vlm), "where?", ("yes", choice))


def test_control_tokens_that_a_tokenizer_makes_of_other_letters_are_refused() -> None:
    vlm = armed("llava")
    core = vlm.processor.tokenizer.backend_tokenizer
    core.normalizer = normalizers.NFKC()
    vlm.processor.tokenizer.add_tokens([AddedToken("<turn>", special=True, normalized=True)])
    vlm = replace(vlm)
    wide = "\uff1cturn\uff1e"  # "<turn>" in full-width brackets
    with pytest.raises(InvalidRequest, match="control tokens"):
        encode(vlm, [Prompt((picture(),), f"what {wide} star?")])
    with pytest.raises(InvalidRequest, match="control tokens"):
        choice_trie(vlm, "where?", ("yes", f"no {wide}"))


def test_what_is_no_control_token_stays_as_it_is() -> None:
    vlm = armed("llava")
    question = "is a < b, <table> or [row 1]?\n\nwhere?"
    (prompt,) = encode(vlm, [Prompt((picture(),), question)]).prompts
    assert prompt.question == question
