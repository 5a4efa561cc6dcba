"""How attention spreads its weights over the keys, read off the autograd graph: inside fused layers too."""

from __future__ import annotations

from typing import Any

import torch

from ..model_trace import AttentionRows

_FUSED = "ScaledDotProduct"
_SOFTMAX = ("SoftmaxBackward", "SafeSoftmaxBackward")
_PRODUCTS = ("BmmBackward", "BaddbmmBackward")
# What may stand between the products of queries and keys and their softmax: scales, masks, position biases.
_BETWEEN = (
    "MulBackward", "DivBackward", "AddBackward", "SubBackward", "NegBackward", "MaskedFill", "WhereBackward", "View", "Reshape", "Unsafe", "Squeeze",
    "Unsqueeze", "Permute", "Transpose", "Expand", "Clone", "Alias", "ToCopy", "Tanh", "ClampM", "SliceBackward",
)  # fmt: skip
_HOPS = 10
_ENTRIES = 1 << 18  # weights of one attention that are looked at
_LEAST_KEYS = 4  # that are not masked


def attention_rows(node: Any) -> AttentionRows | None:
    """How the rows of the weights that a node made spread over the keys; None for a node that is no attention."""
    with torch.no_grad():
        weights = attention_weights(node)
        return None if weights is None else _counted(weights)


def attention_weights(node: Any) -> torch.Tensor | None:
    """Weights of shape (samples, ..., queries, keys) that a node made, of its first samples at least; None for one that is no attention."""
    name = type(node).__name__
    if name.startswith(_FUSED) and hasattr(node, "_saved_query"):
        return _weights_of_fused(node)
    if name.startswith(_SOFTMAX) and _is_of_products(node):
        return node._saved_result.detach().movedim(_axis_of(node), -1)
    return None


def _axis_of(softmax: Any) -> int:
    """Its axis; the graph keeps a negative one as unsigned."""
    return softmax._saved_dim if softmax._saved_dim < 1 << 63 else softmax._saved_dim - (1 << 64)


def _is_of_products(node: Any) -> bool:
    """Whether a softmax is of products of two computed tensors, as queries and keys are: other softmaxes may be meant to choose."""
    front, seen = [n for n, _ in node.next_functions if n is not None], set[Any]()
    for _ in range(_HOPS):
        products = [n for n in front if type(n).__name__.startswith(_PRODUCTS)]
        if products:
            return not any(_is_parameter(m) for n in products for m, _ in n.next_functions)
        seen.update(front)
        passing = [n for n in front if type(n).__name__.startswith(_BETWEEN)]
        front = [m for n in passing for m, _ in n.next_functions if m is not None and m not in seen]
    return False


def _is_parameter(node: Any) -> bool:
    """Whether it is a parameter, rearranged or scaled at most, as experts and centres are that `einsum` multiplies."""
    while node is not None and type(node).__name__.startswith(_BETWEEN):
        before = [m for m, _ in node.next_functions if m is not None]
        node = before[0] if len(before) == 1 else None
    return isinstance(getattr(node, "variable", None), torch.nn.Parameter)


def _weights_of_fused(node: Any) -> torch.Tensor:
    """The weights that a fused kernel never writes, for as many samples as are looked at."""
    query, key = node._saved_query.detach(), node._saved_key.detach()
    samples = max(1, _ENTRIES // max(query[0].numel() // query.shape[-1] * key.shape[-2], 1))
    query, key = query[:samples].float(), key[:samples].float()
    if key.shape[1] != query.shape[1]:  # one key for several heads
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scale = node._saved_scale or query.shape[-1] ** -0.5
    logits = query @ key.transpose(-1, -2) * scale
    mask = getattr(node, "_saved_attn_mask", None)
    mask = getattr(node, "_saved_attn_bias", None) if mask is None else mask
    if mask is not None:
        logits = logits + (mask[:samples] if mask.ndim == 4 and len(mask) > 1 else mask)
    if node._saved_is_causal:
        later = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu(1)
        logits = logits.masked_fill(later, float("-inf"))
    return logits.softmax(-1)


def _counted(weights: torch.Tensor) -> AttentionRows | None:
    """Weights of shape (samples, ..., queries, keys).

    Rows that look at the key that their head looks at most, or as far from their own place as it does most, are counted apart:
    trained heads rest on one key, such as the first, where they have nothing to add, and position biases and queries that are
    the keys themselves make each look at its own place. Chance does neither.
    """
    if weights.ndim < 3 or weights.shape[-1] < _LEAST_KEYS:
        return None
    kept = max(1, _ENTRIES // max(weights[0].numel(), 1))
    p = weights[:kept].float()
    p = p.flatten(1, -3) if p.ndim > 3 else p.unsqueeze(1)  # (samples, heads, queries, keys)
    keys, at = (p > 0).sum(-1), p.argmax(-1)
    chosen = keys >= _LEAST_KEYS
    moving = chosen & ~_is_usual(at) & ~_is_usual(at - torch.arange(at.shape[-1], device=at.device))
    entropy = torch.special.entr(p).sum(-1) / keys.clamp(min=_LEAST_KEYS).log()
    return AttentionRows(
        keys=p.shape[-1],
        rows=int(chosen.sum()),
        entropy=float(entropy[chosen].sum()),
        moving=int(moving.sum()),
        moving_entropy=float(entropy[moving].sum()),
    )


def _is_usual(places: torch.Tensor) -> torch.Tensor:
    """Which places, of shape (samples, heads, queries), are the most common one of their head."""
    return places == places.transpose(0, 1).flatten(1).mode(dim=1).values[None, :, None]
