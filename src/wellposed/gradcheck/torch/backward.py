"""The backward pass of one number, and the gradients that are ours to keep."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import torch

from .moved_tensors import real_view
from .weighted_outputs import nodes_of

Gradients = tuple[torch.Tensor | None, ...]


def gradients_of(
    summed: torch.Tensor, leaves: Sequence[torch.Tensor], *, accumulated: bool
) -> Sequence[torch.Tensor | None]:
    """What autograd gives; `accumulated` by way of ``.grad``, which is as before on the way out."""
    if not accumulated:
        try:
            return torch.autograd.grad(summed, list(leaves), allow_unused=True)
        except RuntimeError as error:
            if "use_reentrant" in str(error):
                raise NeedsAccumulation from error
            raise
    met = accumulating(summed)
    before = [t.grad for t in met]
    try:
        summed.backward()
        return [leaf.grad for leaf in leaves]
    finally:
        for tensor, gradient in zip(met, before, strict=True):
            tensor.grad = gradient


class NeedsAccumulation(Exception):  # noqa: N818 - a signal, not an error
    """A re-entrant checkpoint runs with ``backward()`` alone, which adds to the ``.grad`` of whatever it meets."""


def accumulating(summed: torch.Tensor) -> list[torch.Tensor]:
    """The tensors whose ``.grad`` a backward pass adds to, as far as the graph shows them."""
    held = (getattr(node, "variable", None) for node in nodes_of(summed))
    return [variable for variable in held if variable is not None]


def is_finite(values: torch.Tensor) -> bool:
    """Whether all of them are, without an array of answers: the extremes hold a NaN where there is one."""
    return all(isfinite(float(extreme)) for extreme in torch.aminmax(values))


def own_copy(gradient: torch.Tensor) -> torch.Tensor:
    dense = gradient if gradient.layout is torch.strided else gradient.to_dense()
    return real_view(dense).clone(memory_format=torch.contiguous_format)
