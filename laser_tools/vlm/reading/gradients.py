"""Attention times its gradient for the answer, at one layer, by a whole pass and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from laser_tools.errors import ModelUnavailable
from laser_tools.vlm import capture
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.prompts import Encoded, Prompt, encode, visual_positions
from laser_tools.vlm.reading.base import shown


@dataclass(frozen=True)
class Gradients:
    """Per prompt its attention to the visual tokens and that attention's gradient, both (H, N).

    Float32, on the CPU.
    """

    encoded: Encoded
    rows: list[tuple[Tensor, Tensor]]


def attention_gradients(call: ModelCall, prompts: Sequence[Prompt], layer_idx: int) -> Gradients:
    """Gradients of the likeliest next token's log-probability by the attention of the prompt's end.

    The graph begins at the layer, so memory is for the layers above it. Raises ModelUnavailable if
    the model has no such layer whose attention can be read.
    """
    call.check()
    encoded = encode(call.vlm, shown(call, prompts))
    model = call.vlm.model
    with frozen(model), torch.enable_grad(), capture.leaf(layer_idx) as leaf:
        logits = model(**encoded.inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
        if leaf.rows is None:
            raise ModelUnavailable("This model does not compute attention where it can be read.")
        (gradient,) = torch.autograd.grad(best_log_probability(logits).sum(), leaf.rows)
    attention = leaf.rows.detach()
    positions = visual_positions(call.vlm, encoded)
    rows = [
        (attention[row, :, 0, visual].cpu(), gradient[row, :, 0, visual].cpu())
        for row, visual in enumerate(positions)
    ]
    return Gradients(encoded, rows)


def best_log_probability(logits: Tensor) -> Tensor:
    """(B, vocabulary) -> (B,): the log-probability of the likeliest token, for its gradient.

    Written as the distance to all others together: the gradient of a log-softmax is 1 - p, of which
    float32 keeps nothing where the model is sure.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    best, at = wide.max(dim=-1, keepdim=True)
    others = wide.scatter(-1, at, -torch.inf).logsumexp(dim=-1)
    return -nn.functional.softplus(others - best[..., 0])


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """A context in which the weights are constants: no graph is kept below the leaf."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trained:
            weight.requires_grad_(True)
