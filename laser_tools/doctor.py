"""Whether a model does on this machine what LASER relies on: one check per thing relied on."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, Literal

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from transformers import DynamicCache

from laser_tools.errors import LaserError, ModelUnavailable
from laser_tools.grounding.regions import cells_box
from laser_tools.grounding.vat import VATFusion
from laser_tools.schema import Frozen
from laser_tools.vlm.capture import Capture, capture
from laser_tools.vlm.decode import Decoded, Limits, decode
from laser_tools.vlm.load import VLM
from laser_tools.vlm.prompts import Encoded, Prompt, encode, token_layout, visual_positions

Verdict = Literal["pass", "fail", "skip"]

QUESTION, OTHER = "What is in the image?", "How many of them are red, and where are they?"
WIDE, TALL = (448, 320), (240, 400)  # px; neither is a multiple of usual patches
MEMORY_SIDES_PX = (448, 1024, 2048)
N_NEW_TOKENS = 4
TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-4}  # share of the largest value
HALF_TOLERANCE = 5e-2  # bfloat16 has 8 bits of mantissa, and errors add up over the layers
GIB = 2**30


class Check(Frozen):
    """One thing LASER relies on, and what was found."""

    name: str
    verdict: Verdict
    finding: str
    advice: str = ""  # what to do where it failed


def examine(vlm: VLM) -> list[Check]:
    """All checks, in the order in which they build on each other. No check raises."""
    with vlm.lock, torch.inference_mode():
        return [_made(name, check, vlm) for name, check in CHECKS.items()]


def family(vlm: VLM) -> Check:
    """Somebody has tried a model of this family."""
    kind = vlm.model.config.model_type
    if vlm.family.listed:
        return _check("family", True, f"'{kind}' is listed.")
    return Check(
        name="family",
        verdict="skip",
        finding=f"'{kind}' is not listed; general rules are tried, and checked below.",
    )


def layout(vlm: VLM) -> Check:
    """A planted cell changes the very visual token that lies on it, in a wide and a tall image."""
    found = [planted(vlm, size) for size in (WIDE, TALL)]
    seen = ", ".join(f"{h}x{w} over {size[0]}x{size[1]} px" for (h, w), size, _, _ in found)
    hits, places = sum(one[2] for one in found), sum(one[3] for one in found)
    return _check(
        "layout",
        hits >= 0.8 * places,
        f"Grid {seen}; {hits} of {places} planted cells came back where they were.",
        "Its visual tokens do not lie as assumed, so its maps would be wrong: do not use it.",
    )


def rows(vlm: VLM) -> Check:
    """The attention that is captured is the attention of the eager implementation."""
    encoded = _encoded(vlm, QUESTION)
    (visual,) = visual_positions(vlm, encoded)
    with _capturing(vlm, encoded) as sink:
        _logits(vlm, encoded.inputs)
    difference = _difference(sink.rows()[0], _eager_rows(vlm, encoded)[:, :, visual])
    return _close(vlm, "rows", difference, "Captured rows and eager attention")


def logits(vlm: VLM) -> Check:
    """Capturing does not change what the model says."""
    encoded = _encoded(vlm, QUESTION)
    off = _logits(vlm, encoded.inputs)
    with _capturing(vlm, encoded):
        on = _logits(vlm, encoded.inputs)
    return _close(vlm, "logits", _difference(on, off), "Logits with and without capture")


def prefix(vlm: VLM) -> Check:
    """A prefilled image, continued by either question, gives what two full passes give."""
    if not vlm.family.prefix_sharing:
        why = f"Cannot be shared: {vlm.family.unshareable}. Every pass is a full one."
        return Check(name="prefix", verdict="skip", finding=why)
    prompts = [_encoded(vlm, QUESTION), _encoded(vlm, OTHER)]
    cut = int(visual_positions(vlm, prompts[0])[0][-1]) + 1
    cache = _prefilled(vlm, prompts[0], cut)
    full = [_logits(vlm, encoded.inputs) for encoded in prompts]  # and no state may remain of it
    shared = [_continued(vlm, encoded, copy.deepcopy(cache), cut) for encoded in prompts]
    difference = max(_difference(a, b) for a, b in zip(shared, full, strict=True))
    return _close(vlm, "prefix", difference, "Logits behind a shared prefix and of full passes")


def streams(vlm: VLM) -> Check:
    """Two equal streams fused are plain greedy decoding, token for token."""
    prompt = Prompt((texture(WIDE),), QUESTION)
    limits = [Limits(N_NEW_TOKENS)]
    single = decode(vlm, encode(vlm, [prompt]), limits)[0]
    double = decode(vlm, encode(vlm, [prompt, prompt]), limits, VATFusion(alpha=1.0))[0]
    return _check(
        "streams",
        _tokens(single) == _tokens(double),
        f"Greedy says {_tokens(single)}, two equal streams say {_tokens(double)}.",
        "Rows of a batch influence each other; try --dtype float32.",
    )


def memory(vlm: VLM) -> Check:
    """Weights, KV cache of two streams and captured rows: an estimate, without activations."""
    weights = sum(p.numel() * p.element_size() for p in vlm.model.parameters())
    peaks = [weights + _request_bytes(vlm, side) for side in MEMORY_SIDES_PX]
    seen = ", ".join(
        f"{peak / GIB:.2f} GiB at {side} px"
        for peak, side in zip(peaks, MEMORY_SIDES_PX, strict=True)
    )
    total = _memory_bytes(vlm.device)
    return _check(
        "memory",
        peaks[-1] < total,
        f"Estimate per request, without activations: {seen}; {vlm.device} has {total / GIB:.1f}.",
        "Use smaller images, --dtype bfloat16 or a larger device.",
    )


CHECKS: dict[str, Callable[[VLM], Check]] = {
    "family": family,
    "layout": layout,
    "rows": rows,
    "logits": logits,
    "prefix": prefix,
    "streams": streams,
    "memory": memory,
}


def planted(vlm: VLM, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int], int, int]:
    """Invert some cells of a texture of `size` (px), one at a time, and see which token changes.

    Returns the grid (h, w), the size, how many cells came back, and of how many. A cell comes back
    if its token changes more for it than for any other cell: each token is its own yardstick,
    since in a trained tower a few tokens answer to everything.
    """
    base = texture(size)
    encoded = encode(vlm, [Prompt((base,), QUESTION)])
    before = _embedded(vlm, encoded)
    found = token_layout(vlm, encoded, 0, len(before))
    h, w = found.tokens.shape
    cells = sorted({(0, 0), (h // 2, w // 2), (h - 1, w - 1), (0, w - 1), (h // 3, w // 4)})
    changes = []
    for cell in cells:
        box = cells_box(frozenset({cell}), (h, w), found.box).as_tuple()
        image = base.copy()
        image.paste(ImageOps.invert(base.crop(box)), box)
        after = _embedded(vlm, encode(vlm, [Prompt((image,), QUESTION)]))
        change = found.place((after - before).norm(dim=-1))
        changes.append(change / change.mean())
    at_cells = torch.stack([torch.stack([change[cell] for cell in cells]) for change in changes])
    hits = int((at_cells.argmax(dim=0).cpu() == torch.arange(len(cells))).sum())
    return (h, w), size, hits, len(cells)


def texture(size: tuple[int, int]) -> Image.Image:
    """Coloured noise, the same every time, without two alike regions."""
    noise = torch.randint(256, (9 * 11 * 3,), generator=torch.Generator().manual_seed(0))
    return Image.frombytes("RGB", (11, 9), bytes(noise.tolist())).resize(size)


class _Enough(Exception):
    """The language model is not needed."""


def _embedded(vlm: VLM, encoded: Encoded) -> Tensor:
    """What the language model is given at the visual tokens (N, hidden), float32."""
    seen: list[Tensor] = []

    def stop(_: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        seen.append(inputs["inputs_embeds"])
        raise _Enough

    hook = vlm.model.get_decoder().register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with suppress(_Enough):
            _logits(vlm, encoded.inputs)
    finally:
        hook.remove()
    return seen[0][0, visual_positions(vlm, encoded)[0]].float()


def _eager_rows(vlm: VLM, encoded: Encoded) -> Tensor:
    """Attention of the last position, (L, H, S), read where the eager implementation returns it."""
    rows: dict[int, Tensor] = {}

    def keep(module: nn.Module, _: object, output: object) -> None:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if isinstance(weights, Tensor) and weights.ndim == 4:
            rows[int(module.layer_idx)] = weights[0, :, -1].float()  # type: ignore[arg-type]

    decoder = vlm.model.get_decoder()
    layers = [m for m in decoder.modules() if isinstance(getattr(m, "layer_idx", None), int)]
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    before = vlm.model.config.get_text_config()._attn_implementation
    try:
        vlm.model.set_attn_implementation({"text_config": "eager"})
        _logits(vlm, encoded.inputs)
    finally:
        vlm.model.set_attn_implementation({"text_config": before})
        for hook in hooks:
            hook.remove()
    if not rows:
        raise ModelUnavailable("This model does not show its attention.")
    return torch.stack([rows[layer_idx] for layer_idx in sorted(rows)])


def _prefilled(vlm: VLM, encoded: Encoded, cut: int) -> DynamicCache:
    """The cache of the first `cut` positions."""
    cache = DynamicCache(config=vlm.model.config.get_text_config())
    inputs = _positioned(vlm, encoded)
    length = encoded.length
    head = {
        name: value[..., :cut] if value.shape[-1] == length and name != "pixel_values" else value
        for name, value in inputs.items()
    }
    vlm.model(**head, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache


def _continued(vlm: VLM, encoded: Encoded, cache: DynamicCache, cut: int) -> Tensor:
    """Logits (1, V) of the whole prompt, from the cache of its first `cut` positions."""
    inputs = _positioned(vlm, encoded)
    tail = {"input_ids": inputs["input_ids"][:, cut:], "attention_mask": inputs["attention_mask"]}
    if "position_ids" in inputs:
        tail["position_ids"] = inputs["position_ids"][..., cut:]
    return _logits(vlm, tail, past_key_values=cache, use_cache=True)


def _positioned(vlm: VLM, encoded: Encoded) -> dict[str, Tensor]:
    positions = vlm.family.positions
    if positions is None:
        return encoded.inputs
    return {**encoded.inputs, "position_ids": positions(vlm.model, encoded.inputs)}


def _logits(vlm: VLM, inputs: Mapping[str, Tensor], **options: object) -> Tensor:
    found: Tensor = vlm.model(**inputs, **{"use_cache": False, **options}, logits_to_keep=1).logits
    return found[:, -1].float()


def _encoded(vlm: VLM, question: str) -> Encoded:
    return encode(vlm, [Prompt((texture(WIDE),), question)])


def _capturing(vlm: VLM, encoded: Encoded) -> AbstractContextManager[Capture]:
    return capture(vlm, visual_positions(vlm, encoded), torch.ones(1, 1))


def _request_bytes(vlm: VLM, side: int) -> int:
    """Both streams over [image, crop] of this side, and the rows of both passes over the image."""
    text = vlm.model.config.get_text_config()
    length = encode(vlm, [Prompt((texture((side, side)),), QUESTION)]).length
    heads = text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    element = torch.finfo(vlm.model.dtype).bits // 8
    cache = 2 * text.num_hidden_layers * kv_heads * head_dim * element * length
    return 2 * 2 * cache + 2 * 4 * text.num_hidden_layers * heads * length


def _memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _made(name: str, check: Callable[[VLM], Check], vlm: VLM) -> Check:
    try:
        return check(vlm)
    except LaserError as error:
        finding = error.public_text
    except Exception as error:  # a model nobody tried may raise anything: that is the finding
        finding = f"{type(error).__name__}: {error}"
    return _check(name, False, " ".join(finding.split()), "Do not use this model.")


def _close(vlm: VLM, name: str, difference: float, what: str) -> Check:
    allowed = TOLERANCE.get(vlm.model.dtype, HALF_TOLERANCE)
    return _check(
        name,
        difference <= allowed,
        f"{what} differ by at most {difference:.1e} of the largest (allowed: {allowed:.0e}).",
        "Do not use this model; if --dtype float32 passes, its precision is to blame.",
    )


def _check(name: str, passed: bool, finding: str, advice: str = "") -> Check:
    verdict: Verdict = "pass" if passed else "fail"
    return Check(name=name, verdict=verdict, finding=finding, advice="" if passed else advice)


def _tokens(decoded: Decoded) -> Sequence[str]:
    return [margin.token for margin in decoded.margins]


def _difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())
