"""Views that regroup numbers where axes were to change places: pictures taken apart, heads that share out positions.

A view keeps numbers in the order in which they lie in memory. One that gives a tensor the shape of itself with axes exchanged cuts
across its rows and columns; `permute` was meant, unless numbers lie in memory in another order than their shape says.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .batch import Batch
from .session import Runner

VIEWS: frozenset[Any] = frozenset({
    torch.Tensor.view, torch.Tensor.reshape, torch.reshape, torch.Tensor.view_as, torch.Tensor.reshape_as,
})  # fmt: skip
_JOINING = ("CatBackward", "ConstantPad", "Pad")
"""What makes the tensors that are shifted by a view on purpose, as scores of relative positions are."""


def permuted_instead(x: torch.Tensor, shape: torch.Size) -> torch.Tensor | None:
    """What exchanging axes gives in this shape, where a view to it regroups numbers; None where it does not.

    The first axis, of the samples, stays. Axes of one length keep their order.
    """
    if x.ndim < 3 or len(shape) < 3 or x.shape[0] != shape[0] or _comes_of_joining(x):
        return None
    before, after = tuple(x.shape[1:]), tuple(shape[1:])
    if len(before) == len(after):
        return _exchanged(x, before, after)
    if len(before) == 2 and len(after) == 3:
        return _split(x, before, after)
    if len(before) == 3 and len(after) == 2:
        return _merged(x, before, after)
    return None


def _comes_of_joining(x: torch.Tensor) -> bool:
    return type(x.grad_fn).__name__.startswith(_JOINING)


def _exchanged(x: torch.Tensor, before: tuple[int, ...], after: tuple[int, ...]) -> torch.Tensor | None:
    if sorted(before) != sorted(after) or _longer(before) == _longer(after):
        return None
    left = list(range(len(before)))
    order = []
    for size in after:
        axis = next(a for a in left if before[a] == size)
        left.remove(axis)
        order.append(axis + 1)
    return x.permute(0, *order)


def _longer(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(s for s in sizes if s > 1)


def _split(x: torch.Tensor, before: tuple[int, int], after: tuple[int, int, int]) -> torch.Tensor | None:
    """Positions and channels become heads, positions, channels of a head; or channels, rows, columns."""
    positions, channels = before
    first, second, third = after
    if min(*before, *after) < 2:
        return None
    if second == positions and first * third == channels and first != positions:
        return x.unflatten(2, (first, third)).transpose(1, 2)
    if first == channels and second * third == positions and channels != positions:
        return x.transpose(1, 2).unflatten(2, (second, third))
    return None


def _merged(x: torch.Tensor, before: tuple[int, int, int], after: tuple[int, int]) -> torch.Tensor | None:
    """Heads, positions, channels of a head become positions and channels; or channels, rows, columns positions and channels."""
    first, second, third = before
    positions, channels = after
    if min(*before, *after) < 2:
        return None
    if positions == second and channels == first * third and first != second:
        return x.transpose(1, 2).flatten(2)
    if channels == first and positions == second * third and channels != positions:
        return x.flatten(2).transpose(1, 2)
    return None


class _Exchanged(TorchFunctionMode):
    """Exchanges axes in place of views that regroup numbers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        if func not in VIEWS or not isinstance(given, torch.Tensor) or not args:
            return given
        instead = permuted_instead(args[0], given.shape)
        return given if instead is None else instead.contiguous()


class Exchanging(Runner):
    """The same problem, whose model exchanges axes wherever a view regroups numbers."""

    def outputs(self, batch: Batch) -> Any:
        with _Exchanged():
            return super().outputs(batch)
