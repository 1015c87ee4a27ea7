"""Greedy decoding through `generate`: one stream, or two fused by VAT, with margins per token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
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
) -> list[Decoded]:
    """One answer per entry of `limits`; `check` is called at every token, and may raise.

    With `fusion` the batch is [positive rows, negative rows], twice as long as `limits`: the fused
    scores are written to both halves, so both streams advance with the same token (eq. 11).
    """
    recorder = _Recorder(read.length, limits, stop_ids(vlm), fusion, check)
    n_tokens = max(limit.n_tokens for limit in limits)
    if not read.past:
        ids = _generated(vlm, read.encoded.inputs, None, n_tokens, recorder)
    else:
        inputs = _with_first_token(read, recorder)
        ids, cache = inputs["input_ids"], read.past_key_values(n_tokens)
        if n_tokens > 1 and not recorder.ended(ids):
            ids = _generated(vlm, inputs, cache, n_tokens - 1, recorder)
    new = ids[: len(limits), read.length :]
    return [_decoded(vlm, new[row], row, recorder, limits[row]) for row in range(len(limits))]


def first_margins(vlm: VLM, read: Read, limits: Sequence[Limits]) -> list[float]:
    """By how much the first token of each answer would win (logit units).

    For the first `len(limits)` rows of a batch that was read to its end.
    """
    recorder, n = _Recorder(read.length, limits, stop_ids(vlm)), len(limits)
    recorder(read.encoded.inputs["input_ids"][:n], read.next_logits[:n])
    margin: list[float] = recorder.steps[0][0].margin.tolist()
    return margin


def _with_first_token(read: Read, recorder: _Recorder) -> dict[str, Tensor]:
    """The inputs of `generate` from the second token on: the first follows from the logits."""
    ids, mask, positions = (
        read.encoded.inputs[name] for name in ("input_ids", "attention_mask", "position_ids")
    )
    token = recorder(ids, read.next_logits).argmax(dim=-1, keepdim=True)
    return {
        "input_ids": torch.cat([ids, token], dim=1),
        "attention_mask": torch.cat([mask, torch.ones_like(token)], dim=1),
        "position_ids": torch.cat([positions, positions[..., -1:] + 1], dim=-1),
    }


def _generated(
    vlm: VLM,
    inputs: Mapping[str, Tensor],
    cache: DynamicCache | None,
    n_tokens: int,
    recorder: _Recorder,
) -> Tensor:
    """(B, S + new) token ids."""
    with torch.inference_mode():
        ids: Tensor = vlm.model.generate(
            **inputs,
            past_key_values=cache,
            generation_config=_greedy(vlm, n_tokens),
            logits_processor=LogitsProcessorList([recorder]),
        )
    return ids


class _Recorder(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped here
    """Fuses, holds to choices and length, and notes how clearly each token won."""

    def __init__(
        self,
        prompt_length: int,
        limits: Sequence[Limits],
        stop: list[int],
        fusion: VATFusion | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.steps: list[tuple[Margins, Tensor]] = []  # margins, and which rows had a choice (B,)
        self._prompt_length, self._limits, self._stop = prompt_length, limits, stop
        self._fusion, self._check = fusion, check

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._check()
        n = len(self._limits)
        positive, vat, fused = scores[:n], None, scores[:n]
        allowed = self._allowed(input_ids[:n, self._prompt_length :], positive)
        eligible = allowed
        if self._fusion is not None:
            vat = positive - scores[n:]
            fused = self._fusion.scores(positive, scores[n:])
            eligible = _unless_empty(allowed & self._fusion.plausible(positive), allowed)
        step = margins(fused, eligible, allowed, vat)
        self.steps.append((step, allowed.sum(dim=-1) > 1))
        decided = torch.full_like(positive, -torch.inf).scatter(1, step.chosen[:, None], 0.0)
        return decided if self._fusion is None else decided.repeat(2, 1)

    def ended(self, input_ids: Tensor) -> bool:
        """Whether no answer goes on."""
        return all(token in self._stop for token in input_ids[:, -1].tolist())

    def _allowed(self, so_far: Tensor, scores: Tensor) -> Tensor:
        """True (B, V) for the tokens that each answer may go on with."""
        allowed = torch.ones_like(scores, dtype=torch.bool)
        for row, limit in enumerate(self._limits):
            tokens = _next_tokens(limit, so_far[row].tolist(), self._stop)
            if tokens is not None:
                allowed[row] = False
                allowed[row, tokens] = True
        return allowed


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


def _decoded(vlm: VLM, ids: Tensor, row: int, recorder: _Recorder, limit: Limits) -> Decoded:
    tokens = _until_stop(ids.tolist(), recorder._stop)
    text: str = vlm.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
    if limit.trie is not None:
        text = limit.trie.choice(tokens) or text
    n_steps = max(len(tokens), 1) if limit.trie is None else len(tokens) + 1
    steps = [step for step, free in recorder.steps[:n_steps] if bool(free[row])]
    return Decoded(text, tuple(_token_margin(vlm.processor.tokenizer, s, row) for s in steps))


def _until_stop(tokens: list[int], stop: list[int]) -> list[int]:
    ends = [i for i, token in enumerate(tokens) if token in stop]
    return tokens[: ends[0]] if ends else tokens


def _token_margin(tokenizer: PreTrainedTokenizerBase, step: Margins, row: int) -> TokenMargin:
    vat_margin = None if step.vat_margin is None else float(step.vat_margin[row])
    return TokenMargin(
        token=tokenizer.decode([int(step.chosen[row])]),
        probability=float(step.probability[row]),
        margin=float(step.margin[row]),
        vat_margin=vat_margin,
    )
