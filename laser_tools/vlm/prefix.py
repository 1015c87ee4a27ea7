"""Images prefilled once: every prompt that begins alike goes on from their keys and values.

A prompt is cut behind each of its images. What lies before a cut is a segment, made once and found
again by its tokens and pixels: by the prompt without the query, by the answer, by the crop's
prompt behind the same image, by the next question. Positions are those of the whole prompt, passed
explicitly: M-RoPE models would take them from their last request, and masks with holes move them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from laser_tools.errors import ModelUnavailable
from laser_tools.vlm.load import VLM
from laser_tools.vlm.prefix_cache import Key, KeyValue, Segment
from laser_tools.vlm.prefix_layers import key_values
from laser_tools.vlm.prompts import (
    Encoded,
    Prompt,
    encode,
    moved,
    pad_id,
    rendered,
    rest,
    token_ids,
)
from laser_tools.vlm.session import Session

Inputs = Mapping[str, Tensor]

TEXT_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"})
PIXELS = frozenset({"pixel_values", "pixel_attention_mask"})


@dataclass(frozen=True)
class _Row:
    """One prompt: its tokens, where each of its images ends, and the key of all up to there."""

    input_ids: Tensor  # (S,)
    position_ids: Tensor  # (S,), or (S, 3) for M-RoPE
    ends: tuple[int, ...]
    keys: tuple[Key, ...]

    def span(self, depth: int) -> tuple[int, int]:
        """Where the segment of image `depth` starts and stops; behind the last is the text."""
        edges = (0, *self.ends, len(self.input_ids))
        return edges[depth], edges[depth + 1]


def prefilled(session: Session, prompts: Sequence[Prompt]) -> Encoded:
    """The batch of `prompts`, with all up to their last images prefilled.

    Where the family cannot share prefixes it is `encode`: the whole prompts, for full passes.
    """
    session.check()
    vlm = session.vlm
    if not vlm.family.prefix_sharing:
        return encode(vlm, prompts)
    safe, texts = rendered(vlm, prompts)
    fresh: dict[bytes, Inputs] = {}
    pairs = zip(safe, texts, strict=True)
    rows = [_row(session, prompt, text, fresh) for prompt, text in pairs]
    for depth in range(max(len(row.ends) for row in rows)):
        _prefill(session, rows, depth, fresh)
    past = tuple(tuple(_held(session, key) for key in row.keys) for row in rows)
    facts = [segment.image_inputs for row in past for segment in row]
    packed = _packed(vlm, rows, [len(row.ends) for row in rows])
    return Encoded(safe, texts, packed, _joined(facts), past)


def _row(session: Session, prompt: Prompt, text: str, fresh: dict[bytes, Inputs]) -> _Row:
    """The prompt's tokens, each placeholder expanded to its image's; new images go to `fresh`."""
    vlm = session.vlm
    *before, tail = _split(vlm, token_ids(vlm, text), len(prompt.images))
    digests = [session.digest(image) for image in prompt.images]
    pairs = [(tuple(ids), digest) for ids, digest in zip(before, digests, strict=True)]
    keys = tuple(tuple(pairs[: depth + 1]) for depth in range(len(pairs)))
    parts, facts = list[Tensor](), list[Inputs]()
    for key, image in zip(keys, prompt.images, strict=True):
        ids, fact = _segment_inputs(session, key, image, fresh)
        parts.append(ids)
        facts.append(fact)
    input_ids = torch.cat([*parts, _ids(vlm, tail)])
    position_ids = vlm.family.positions(vlm.model, input_ids, _joined(facts)).movedim(-1, 0)
    return _Row(input_ids, position_ids, tuple(accumulate(len(part) for part in parts)), keys)


def _split(vlm: VLM, ids: Sequence[int], n_images: int) -> list[list[int]]:
    """The text tokens before, between and behind the image placeholders."""
    parts: list[list[int]] = [[]]
    for token in ids:
        if token == vlm.model.config.image_token_id:
            parts.append([])
        else:
            parts[-1].append(token)
    if len(parts) != n_images + 1:
        raise ModelUnavailable("The chat template does not place one token per image.")
    return parts


def _segment_inputs(
    session: Session, key: Key, image: Image.Image, fresh: dict[bytes, Inputs]
) -> tuple[Tensor, Inputs]:
    """The segment's tokens (T,) and what the processor says of its image beside the pixels."""
    segment = session.get(key)
    if segment is not None:
        return segment.input_ids, segment.image_inputs
    text, digest = key[-1]
    if digest not in fresh:
        fresh[digest] = _processed(session.vlm, image)
    inputs = fresh[digest]
    return torch.cat([_ids(session.vlm, text), inputs["input_ids"][0]]), _facts(inputs)


def _processed(vlm: VLM, image: Image.Image) -> Inputs:
    """The image alone, as the processor sees it: its tokens (1, n) and its pixels."""
    inputs = vlm.processor(
        images=[image],
        text=[vlm.processor.image_token],
        add_special_tokens=False,
        return_tensors="pt",
    )
    return {name: moved(vlm, value) for name, value in inputs.items()}


def _prefill(
    session: Session, rows: Sequence[_Row], depth: int, fresh: Mapping[bytes, Inputs]
) -> None:
    """Make the segments of image `depth` that are missing, in one pass behind the ones before."""
    wanted = {row.keys[depth]: row for row in rows if len(row.keys) > depth}
    missing = {key: row for key, row in wanted.items() if session.get(key) is None}
    if not missing:
        return
    session.check()
    todo = list(missing.values())
    past = [[_held(session, key) for key in row.keys[:depth]] for row in todo]
    images = [_image_inputs(fresh[key[-1][1]]) for key in missing]
    packed, n_new = _packed(session.vlm, todo, [depth] * len(todo)), _longest(todo, depth)
    cache = key_values(past, n_new)
    inputs = rest(packed, cache.get_seq_length())
    with torch.inference_mode():
        session.vlm.model(**inputs, **_joined(images), past_key_values=cache, logits_to_keep=1)
    spans = [row.span(depth) for row in todo]
    states = _last_states(cache, [stop - start for start, stop in spans])
    for (key, row), span, image, one in zip(missing.items(), spans, images, states, strict=True):
        session.put(key, Segment(row.input_ids[slice(*span)], one, _facts(image)))


def _last_states(cache: DynamicCache, n_tokens: Sequence[int]) -> list[tuple[KeyValue, ...]]:
    """Per row the keys and values of its last tokens, by layer. The cache is used up."""
    layers: list[list[KeyValue]] = []
    while cache.layers:
        layer = cache.layers.pop(0)  # so that its memory is free once the rows have theirs
        both = layer.keys, layer.values
        pairs = [[one[row, :, -n:] for one in both] for row, n in enumerate(n_tokens)]
        layers.append([(_own(keys), _own(values)) for keys, values in pairs])
    return list(zip(*layers, strict=True))


def _own(view: Tensor) -> Tensor:
    """The same numbers in memory of their own: a copy, unless all the memory is theirs."""
    if view.untyped_storage().nbytes() == view.nbytes:
        return view
    return view.clone(memory_format=torch.contiguous_format)


def _longest(rows: Sequence[_Row], depth: int) -> int:
    return max(stop - start for start, stop in (row.span(depth) for row in rows))


def _packed(vlm: VLM, rows: Sequence[_Row], depths: Sequence[int]) -> dict[str, Tensor]:
    """The rows up to the end of segment `depths`: what lies before it, then it, each padded left.

    So the prefilled part has the same columns in every row, with holes in the mask behind it.
    """
    spans = [row.span(depth) for row, depth in zip(rows, depths, strict=True)]
    ids, positions = [row.input_ids for row in rows], [row.position_ids for row in rows]
    padded = _in_two_parts(positions, spans)
    return {
        "input_ids": _in_two_parts(ids, spans, pad_id(vlm)),
        "attention_mask": _in_two_parts([torch.ones_like(row) for row in ids], spans),
        "position_ids": padded if padded.ndim == 2 else padded.movedim(-1, 0),
    }


def _in_two_parts(rows: Sequence[Tensor], spans: Sequence[tuple[int, int]], pad: int = 0) -> Tensor:
    """(B, P + T, ...): each row up to where its span starts, then the span."""
    pairs = list(zip(rows, spans, strict=True))
    parts = [row[:start] for row, (start, _) in pairs], [row[slice(*span)] for row, span in pairs]
    return torch.cat([_left(part, pad) for part in parts], dim=1)


def _left(rows: Sequence[Tensor], pad: int) -> Tensor:
    return pad_sequence(list(rows), batch_first=True, padding_value=pad, padding_side="left")


def _image_inputs(inputs: Inputs) -> dict[str, Tensor]:
    return {name: value for name, value in inputs.items() if name not in TEXT_INPUTS}


def _facts(inputs: Inputs) -> dict[str, Tensor]:
    """What is left of an image's inputs once it is prefilled: its grid, where it has one."""
    return {name: value for name, value in _image_inputs(inputs).items() if name not in PIXELS}


def _joined(images: Sequence[Inputs]) -> dict[str, Tensor]:
    """What the processor says of several images, as it says it of a batch."""
    if len(images) == 1:
        return dict(images[0])  # a copy of all pixels would be the largest tensor of the pass
    return {name: _batched([image[name] for image in images]) for name in images[0]}


def _batched(values: Sequence[Tensor]) -> Tensor:
    """One behind the other; images of fewer tiles have empty ones behind them, as in a batch."""
    largest = [max(sizes) for sizes in zip(*(one.shape[1:] for one in values), strict=True)]
    return torch.cat([_filled(one, [len(one), *largest]) for one in values])


def _filled(value: Tensor, shape: Sequence[int]) -> Tensor:
    """`value` at the beginning of zeros of that shape."""
    if list(value.shape) == list(shape):
        return value
    filled = value.new_zeros(*shape)
    filled[tuple(slice(n) for n in value.shape)] = value
    return filled


def _held(session: Session, key: Key) -> Segment:
    segment = session.get(key)
    if segment is None:
        raise RuntimeError("A prompt goes on from an image that was not prefilled.")
    return segment


def _ids(vlm: VLM, ids: Sequence[int]) -> Tensor:
    return torch.tensor(ids, dtype=torch.long, device=vlm.device)
