"""Images prefilled once: every prompt that begins alike goes on from their keys and values.

An image's segment is found again by its tokens and pixels: by the prompt without the query, by the
answer, by the crop's prompt behind the same image, by the next question. A segment that nobody has
is made in the pass that reads the prompts behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import DynamicCache

from laser_tools.vlm.load import VLM
from laser_tools.vlm.packing import Hidden, Packed, Span, Trunk, padded_left
from laser_tools.vlm.prefix_cache import Key, KeyValue, Segment
from laser_tools.vlm.prefix_layers import key_values
from laser_tools.vlm.prompts import Encoded, Prompt, encode, pad_id
from laser_tools.vlm.rows import Row, Rows, joined, tokenised
from laser_tools.vlm.session import Session

MASK_TOKENS = 1024
"""Branches need a mask over all pairs of tokens: an image of more tokens has a pass of its own."""


def read(session: Session, prompts: Sequence[Prompt]) -> Encoded:
    """The batch of `prompts`, read to their ends, with the logits that follow.

    Where the family cannot share prefixes it is `encode`, and nothing is read.
    """
    if not session.vlm.family.prefix_sharing:
        session.check()
        return encode(session.vlm, prompts)
    rows = tokenised(session, prompts)
    return run(session, rows, pack(session, rows))


def pack(session: Session, rows: Rows, hidden: Hidden | None = None) -> Packed:
    """What `run` is to do: images that it cannot make along with the rest are prefilled here."""
    hidden = hidden or {}
    groups = _by_last_image(rows.rows)
    n_branches = min(len(group) for group in groups.values())
    along = {key for key, group in groups.items() if len(group) == n_branches}
    along -= {key for row in rows.rows for key in row.keys[:-1]}
    if n_branches > 1 or hidden:
        along = {key for key in along if _last_length(rows.rows[groups[key][0]]) <= MASK_TOKENS}
    for depth in range(max(len(row.images) for row in rows.rows)):
        _prefill(session, rows, depth, along)
    trunks = [
        Trunk(rows.rows[group[0]], tuple(group[start : start + n_branches]), _n_held(session, key))
        for key, group in groups.items()
        for start in range(0, len(group), n_branches)
    ]
    return _packed(session.vlm, trunks, rows.rows, hidden)


def run(session: Session, rows: Rows, packed: Packed) -> Encoded:
    """One pass to the ends of the prompts. What it leaves behind them is kept, to be gone on from.

    Raises Cancelled where the caller no longer waits.
    """
    cache, logits = _pass(session, rows, packed)
    texts = [packed.span(prompt) for prompt in range(len(rows.rows))]
    suffixes = _make(session, cache, packed, texts)
    past = tuple(
        (*(_held(session, key) for key in row.keys), Segment(row.input_ids[row.end() :], one, {}))
        for row, one in zip(rows.rows, suffixes, strict=True)
    )
    places = [packed.places[prompt] for prompt in range(len(rows.rows))]
    facts = [image.image_inputs for row in rows.rows for image in row.images]
    return Encoded(
        rows.prompts,
        rows.texts,
        _padded(session.vlm, rows.rows, packed.hidden),
        joined(facts),
        past,
        torch.stack([logits[place] for place in places]),
    )


def chosen(vlm: VLM, encoded: Encoded, rows: Sequence[int]) -> Encoded:
    """Some rows of a batch, to be gone on from."""
    prompts = [encoded.prompts[row] for row in rows]
    if not encoded.past:
        return encode(vlm, prompts)
    index = torch.tensor(rows, device=encoded.inputs["input_ids"].device)
    past = tuple(encoded.past[row] for row in rows)
    length = max(sum(len(one.input_ids) for one in segments) for segments in past)
    batched = {name: value[..., -length:] for name, value in encoded.inputs.items()}
    return replace(
        encoded,
        prompts=tuple(prompts),
        texts=tuple(encoded.texts[row] for row in rows),
        inputs={name: value.index_select(-2, index) for name, value in batched.items()},
        image_inputs=joined([one.image_inputs for segments in past for one in segments[:-1]]),
        past=past,
        logits=encoded.next_logits[index],
    )


def _prefill(session: Session, rows: Rows, depth: int, along: set[Key]) -> None:
    """Make the segments of image `depth` that are missing, but for those made `along`."""
    wanted = {row.keys[depth]: row for row in rows.rows if len(row.images) > depth}
    missing = [
        row.up_to(depth + 1)
        for key, row in wanted.items()
        if key not in along and session.get(key) is None
    ]
    if missing:
        trunks = [Trunk(row, (i,), depth) for i, row in enumerate(missing)]
        alone = _packed(session.vlm, trunks, missing, {})
        cache, _ = _pass(session, rows, alone)
        _make(session, cache, alone, [])


def _by_last_image(rows: Sequence[Row]) -> dict[Key, list[int]]:
    groups: dict[Key, list[int]] = {}
    for prompt, row in enumerate(rows):
        groups.setdefault(row.keys[-1], []).append(prompt)
    return groups


def _last_length(row: Row) -> int:
    return len(row.images[-1].input_ids)


def _n_held(session: Session, key: Key) -> int:
    """How many of a prompt's images are prefilled: all, or all but the last."""
    return len(key) - (session.get(key) is None)


def _packed(vlm: VLM, trunks: Sequence[Trunk], rows: Sequence[Row], hidden: Hidden) -> Packed:
    image_token_id: int = vlm.model.config.image_token_id
    return Packed(tuple(trunks), tuple(rows), hidden, pad_id(vlm), image_token_id)


def _pass(session: Session, rows: Rows, packed: Packed) -> tuple[DynamicCache, Tensor]:
    """The cache behind it, and the logits (B, branches, V) at the ends."""
    session.check()
    start, total = packed.past_length, packed.input_ids.shape[1]
    held = [trunk.row.keys[: trunk.n_held] for trunk in packed.trunks]
    cache = key_values([[_held(session, key) for key in keys] for keys in held], total - start)
    new = [trunk.new_image for trunk in packed.trunks]
    images = [rows.pixel_inputs(image.key) for image in new if image]
    ends = torch.tensor([total - start - 1 - n for n in packed.behind], device=session.vlm.device)
    with torch.inference_mode():
        found = session.vlm.model(
            input_ids=packed.input_ids[:, start:],
            attention_mask=packed.attention_mask(session.vlm.model.dtype),
            position_ids=packed.position_ids[..., start:],
            **(joined(images) if images else {}),
            past_key_values=cache,
            logits_to_keep=ends,
        )
    return cache, found.logits


def _make(
    session: Session, cache: DynamicCache, packed: Packed, texts: Sequence[Span]
) -> list[tuple[KeyValue, ...]]:
    """Hold the new images' segments; the states of `texts`. The cache is used up."""
    new = [(at, trunk.new_image) for at, trunk in enumerate(packed.trunks)]
    images = [(at, image) for at, image in new if image]
    end = packed.images_end
    spans = [(at, end - len(image.input_ids), end) for at, image in images]
    states = _states(cache, [*spans, *texts])
    for (_, image), one in zip(images, states, strict=False):
        session.put(image.key, Segment(image.input_ids, one, image.image_inputs))
    return states[len(images) :]


def _states(cache: DynamicCache, spans: Sequence[Span]) -> list[tuple[KeyValue, ...]]:
    """Per span its keys and values, by layer. The cache is used up."""
    layers: list[list[KeyValue]] = []
    while cache.layers:
        layer = cache.layers.pop(0)  # so that its memory is free once the spans have theirs
        both = layer.keys, layer.values
        pairs = [[_own(one[row, :, start:stop]) for one in both] for row, start, stop in spans]
        layers.append([(keys, values) for keys, values in pairs])
    return list(zip(*layers, strict=True))


def _own(view: Tensor) -> Tensor:
    """The same numbers in memory of their own: a copy, unless all the memory is theirs."""
    if view.untyped_storage().nbytes() == view.nbytes:
        return view
    return view.clone(memory_format=torch.contiguous_format)


def _padded(vlm: VLM, rows: Sequence[Row], hidden: Hidden) -> dict[str, Tensor]:
    """The inputs of `generate`: whole prompts, padded left, with holes where tokens are hidden."""
    masks = [torch.ones_like(row.input_ids) for row in rows]
    for prompt, one in hidden.items():
        visual = rows[prompt].input_ids == vlm.model.config.image_token_id
        masks[prompt][visual.nonzero()[one.to(visual.device), 0]] = 0
    positions = padded_left([row.position_ids for row in rows])
    return {
        "input_ids": padded_left([row.input_ids for row in rows], pad_id(vlm)),
        "attention_mask": padded_left(masks),
        "position_ids": positions if positions.ndim == 2 else positions.movedim(-1, 0),
    }


def _held(session: Session, key: Key) -> Segment:
    segment = session.get(key)
    if segment is None:
        raise RuntimeError("A prompt goes on from an image that was not prefilled.")
    return segment
