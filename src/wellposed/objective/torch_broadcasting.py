"""Terms in which outputs of shape ``(N, 1)`` meet targets of shape ``(N,)``, or the other way round: every row meets every other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from ..errors import WellposedError
from .torch_components import Dependence, Gradients, differ, gradients_of
from .torch_descent import value_of
from .torch_outputs import is_real, ramp
from .torch_targets import rms, same_but_ones
from .torch_terms import terms_of

_SAME_VALUE = 1e-6  # of a loss: what the same sums in another order leave


def broadcasting_pairs(seen: Dependence) -> list[tuple[int, int]]:
    """Outputs and targets that broadcast against each other in a term of the loss.

    There the gradient by the output follows the targets' values and not their order, and follows their order too
    once the output has the targets' shape.
    """
    return [
        (i, j)
        for i, o in enumerate(seen.outputs.detached)
        for j, y in enumerate(seen.targets.tensors)
        if is_real(y) and o.shape != y.shape and _broadcasts(seen, i, j)
    ]


def shapes_broadcast(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], o: torch.Tensor, y: torch.Tensor
) -> bool:
    """The same of a whole loss that takes outputs of one shape alone: its value follows the targets' order once they have that shape."""
    if o.shape == y.shape or not same_but_ones(o, y):
        return False
    varied = o + max(rms(o), rms(y), 1e-3) * ramp(o) / 3

    def follows_the_order(targets: torch.Tensor) -> bool | None:
        here, moved = (value_of(lambda o, y=t: loss(o, y), varied) for t in (targets, targets.roll(1, 0)))
        return None if here is None or moved is None else abs(here - moved) > _SAME_VALUE * abs(here)

    return follows_the_order(y) is False and follows_the_order(y.reshape(o.shape)) is True


def _broadcasts(seen: Dependence, i: int, j: int) -> bool:
    o, y = seen.points[1][i], seen.targets.tensors[j]
    mended = _mended(o, y)
    if not mended:
        return False
    unpaired = _unpaired_terms(seen, i, j)
    return any(unpaired & _paired_terms(seen, i, j, *shapes) for shapes in mended)


def _mended(o: torch.Tensor, y: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Outputs and targets in shapes in which their rows may meet one by one."""
    if same_but_ones(o, y):
        return [(o.reshape(y.shape), y), (o, y.reshape(o.shape))]
    if not o.ndim or y.ndim not in (1, 2) or len(o) != len(y) or y.numel() != len(y):
        return []
    return [(o, y.squeeze(1) if y.ndim == 2 else y[:, None])]  # one a row, as weights are


def _unpaired_terms(seen: Dependence, i: int, j: int) -> set[int]:
    """Terms whose gradient by an output follows the targets' values and not their order."""
    o, y = seen.points[1][i], seen.targets.tensors[j]
    return _changed(seen, i, j, o, y, y[:1].expand_as(y).contiguous()) - _paired_terms(seen, i, j, o, y)


def _paired_terms(seen: Dependence, i: int, j: int, o: torch.Tensor, y: torch.Tensor) -> set[int]:
    """Terms whose gradient by an output follows the targets' order."""
    return _changed(seen, i, j, o, y, y.roll(1, 0))


def _changed(
    seen: Dependence, i: int, j: int, o: torch.Tensor, y: torch.Tensor, other: torch.Tensor
) -> set[int]:
    """Terms whose gradient by an output is another one with other targets; none where the loss refuses them."""
    point = {**dict(enumerate(seen.points[1])), i: o}
    try:
        before, after = (_by_term(seen, i, point, {j: targets}) for targets in (y, other))
    except WellposedError:
        return set()
    if len(before) != len(after):
        return set()
    return {k for k, (b, a) in enumerate(zip(before, after, strict=True)) if differ(b, a)}


def _by_term(
    seen: Dependence, i: int, outputs: Mapping[int, torch.Tensor], targets: Mapping[int, torch.Tensor]
) -> Gradients:
    """The gradient of each term by one output."""
    leaf = outputs[i].detach().clone().requires_grad_()
    terms = terms_of(lambda: seen.loss({**outputs, i: leaf}, targets))
    return [gradients_of(term.contribution, [leaf])[0] for term in terms]
