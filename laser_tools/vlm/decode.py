"""Greedy decoding: one stream, or two fused by VAT, with margins per token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
)

from laser_tools.grounding.vat import Margins, VATFusion, margins
from laser_tools.schema import TokenMargin
from laser_tools.vlm.choices import Trie
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import pad_id, stop_ids
from laser_tools.vlm.reading.base import Read
from laser_tools.vlm.telling import Teller


@dataclass(frozen=True)
class Decoded:
    """An answer's text and the margins of the tokens that were decided, not forced by a choice.

    Where one choice begins another, the end of the shorter one is decided as well.
    """

    text: str
    margins: tuple[TokenMargin, ...]


@dataclass(frozen=True)
class Limits:
    """Per answer: how many tokens at most, and which choices it is held to (None = free)."""

    max_new_tokens: int
    trie: Trie | None = None

    @property
    def n_tokens(self) -> int:
        return self.max_new_tokens if self.trie is None else self.trie.depth


def decode(
    vlm: VLM,
    read: Read,
    limits: Sequence[Limits],
    fusion: VATFusion | None = None,
    check: Callable[[], None] = lambda: None,
    tellers: Mapping[int, Teller] | None = None,
) -> list[Decoded]:
    """One answer per entry of `limits`; `check` is called at every token, and may raise.

    `tellers`, by the index of an answer, are told its text as it grows.

    With `fusion` the batch is [positive rows, negative rows], twice as long as `limits`: the token
    that the fused scores choose is given to both halves, so the streams advance together (eq. 11).
    """
    answers = _Answers(vlm, limits, fusion, check, tellers)
    go_on = _go_on if read.past else _generate
    with torch.inference_mode():
        go_on(vlm, read, answers, max(limit.n_tokens for limit in limits))
    return answers.decoded()


def beginnings(vlm: VLM, read: Read, limits: Sequence[Limits]) -> list[TokenMargin | None]:
    """The token that each answer would begin with; None where choices leave no other.

    For the first `len(limits)` rows of a batch that was read to its end.
    """
    answers = _Answers(vlm, limits)
    answers.advance(read.next_logits[: len(limits)])
    return answers.first()


def _go_on(vlm: VLM, read: Read, answers: _Answers, n_tokens: int) -> None:
    """Greedy steps from what has been read; its last logits choose the first token.

    Not through `generate`: what it does around each step is long next to a small model's step.
    """
    cache, position_ids = read.past_key_values(n_tokens), read.encoded.inputs["position_ids"]
    mask = _step_mask(vlm, read.encoded.inputs["attention_mask"], n_tokens)
    logits = read.next_logits
    for n in range(1, n_tokens + 1):
        tokens = answers.advance(logits)
        if answers.ended:
            return
        logits = vlm.model(
            input_ids=tokens[:, None],
            attention_mask=None if mask is None else mask[..., : read.length + n],
            position_ids=position_ids[..., -1:] + n,
            past_key_values=cache,
            logits_to_keep=1,
        ).logits[:, -1]


def _step_mask(vlm: VLM, mask: Tensor, n_tokens: int) -> Tensor | None:
    """The prompts' `mask` (B, S), extended for `n_tokens` of decoding; None if nothing is masked.

    (B, 1, 1, S + n), to be added to the scores, so that no step makes it again; but where layers
    see a window only, (B, S + n), as they narrow it themselves.
    """
    if mask.all():
        return None
    longer = torch.nn.functional.pad(mask, (0, n_tokens), value=1)
    if getattr(vlm.model.config.get_text_config(), "sliding_window", None) is not None:
        return longer
    dtype: torch.dtype = vlm.model.dtype
    unseen = (longer == 0)[:, None, None]
    return torch.zeros_like(unseen, dtype=dtype).masked_fill_(unseen, torch.finfo(dtype).min)


def _generate(vlm: VLM, read: Read, answers: _Answers, n_tokens: int) -> None:
    """Through `generate`, from the prompts' beginnings: families differ in how their steps go."""
    vlm.model.generate(
        **read.encoded.inputs,
        generation_config=_greedy(vlm, n_tokens),
        logits_processor=LogitsProcessorList([_Advancing(answers)]),
    )


class _Advancing(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped here
    """Restricts `generate` to the tokens that `answers` advance with."""

    def __init__(self, answers: _Answers) -> None:
        self._answers = answers

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        tokens = self._answers.advance(scores)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens[:, None], 0.0)


class _Answers:
    """Answers being decoded: fused, held to choices and length, with the margins of each step."""

    def __init__(
        self,
        vlm: VLM,
        limits: Sequence[Limits],
        fusion: VATFusion | None = None,
        check: Callable[[], None] = lambda: None,
        tellers: Mapping[int, Teller] | None = None,
    ) -> None:
        self.steps: list[Margins] = []
        self._tokens: list[list[int]] = [[] for _ in limits]
        self._decided: list[list[bool]] = [[] for _ in limits]  # by step: not forced by a choice
        self._limits, self._fusion, self._check = limits, fusion, check
        self._tokenizer: PreTrainedTokenizerBase = vlm.processor.tokenizer
        self._stop = stop_ids(vlm)
        self._tellers = tellers or {}

    def advance(self, logits: Tensor) -> Tensor:
        """The next token of each row of `logits` (B, V); with two streams, the same for both."""
        self._check()
        scores, n = logits.float(), len(self._limits)
        positive, vat, fused = scores[:n], None, scores[:n]
        allowed = self._allowed(positive)
        eligible = allowed
        if self._fusion is not None:
            vat = positive - scores[n:]
            fused = self._fusion.scores(positive, scores[n:])
            eligible = _unless_empty(allowed & self._fusion.plausible(positive), allowed)
        step = margins(fused, eligible, allowed, vat)
        self.steps.append(step)
        for so_far, token in zip(self._tokens, step.chosen.tolist(), strict=True):
            so_far.append(token)
        self._tell(step)
        return step.chosen if self._fusion is None else step.chosen.repeat(2)

    @property
    def ended(self) -> bool:
        """True once nothing is left to decide: all answers have stopped, or can only stop."""
        return all(self._next(row) == self._stop[:1] for row in range(len(self._limits)))

    def first(self) -> list[TokenMargin | None]:
        """The first tokens that were decided, not forced by a choice."""
        tokens = _token_margins(self._tokenizer, self.steps[0])
        pairs = zip(tokens, self._decided, strict=True)
        return [token if decided[0] else None for token, decided in pairs]

    def decoded(self) -> list[Decoded]:
        """The answers as text; their margins leave the device here."""
        columns = zip(*(_token_margins(self._tokenizer, step) for step in self.steps), strict=True)
        return [self._one(row, column) for row, column in enumerate(columns)]

    def _one(self, row: int, steps: Sequence[TokenMargin]) -> Decoded:
        trie, tokens = self._limits[row].trie, _until_stop(self._tokens[row], self._stop)
        text = self._text(tokens)
        if trie is not None:
            text = trie.choice(tokens) or text
        n_steps = max(len(tokens), 1) if trie is None else len(tokens) + 1
        pairs = list(zip(steps, self._decided[row], strict=True))[:n_steps]
        return Decoded(text, tuple(step for step, decided in pairs if decided))

    def _text(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True).strip()
        return text

    def _tell(self, step: Margins) -> None:
        """Tell the answers so far to those who listen."""
        for row, teller in self._tellers.items():
            if teller.awaits_margin and self._decided[row][-1]:
                teller.decide(float(step.margin[row]))
            teller.tell(self._text(_until_stop(self._tokens[row], self._stop)))

    def _allowed(self, scores: Tensor) -> Tensor:
        """True (B, V) for the tokens that each answer may go on with."""
        allowed = torch.ones_like(scores, dtype=torch.bool)
        for row, decided in enumerate(self._decided):
            tokens = self._next(row)
            decided.append(tokens is None or len(tokens) > 1)
            if tokens is not None:
                allowed[row] = False
                allowed[row, tokens] = True
        return allowed

    def _next(self, row: int) -> list[int] | None:
        return _next_tokens(self._limits[row], self._tokens[row], self._stop)


def _next_tokens(limit: Limits, so_far: list[int], stop: list[int]) -> list[int] | None:
    """The allowed next tokens; None = any. Past its length an answer can only stop."""
    if len(so_far) >= limit.n_tokens or any(token in stop for token in so_far):
        return stop[:1]
    return None if limit.trie is None else limit.trie.next_tokens(so_far, stop[0])


def _unless_empty(wanted: Tensor, otherwise: Tensor) -> Tensor:
    return torch.where(wanted.any(dim=-1, keepdim=True), wanted, otherwise)


def _greedy(vlm: VLM, max_new_tokens: int) -> GenerationConfig:
    """Plain greedy decoding, whatever penalties or sampling the checkpoint ships with."""
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        eos_token_id=stop_ids(vlm),
        pad_token_id=pad_id(vlm),
    )


def _until_stop(tokens: list[int], stop: list[int]) -> list[int]:
    ends = [i for i, token in enumerate(tokens) if token in stop]
    return tokens[: ends[0]] if ends else tokens


def _token_margins(tokenizer: PreTrainedTokenizerBase, step: Margins) -> list[TokenMargin]:
    """The margins of each row as plain data."""
    chosen = step.chosen.tolist()
    vat = [None] * len(chosen) if step.vat_margin is None else step.vat_margin.tolist()
    rows = zip(chosen, step.probability.tolist(), step.margin.tolist(), vat, strict=True)
    return [
        TokenMargin(token=tokenizer.decode([token]), probability=p, margin=m, vat_margin=v)
        for token, p, m, v in rows
    ]
