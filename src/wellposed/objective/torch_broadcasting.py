"""Terms in which outputs of shape ``(N, 1)`` meet targets of shape ``(N,)``, or the other way round: every row meets every other."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..errors import WellposedError
from .torch_components import Dependence, Gradients, differ, gradients_of
from .torch_outputs import is_real
from .torch_targets import same_but_ones
from .torch_terms import terms_of


def broadcasting_pairs(seen: Dependence) -> list[tuple[int, int]]:
    """Outputs and targets that broadcast against each other in a term of the loss.

    There the gradient by the output follows the targets' values and not their order, and follows their order too
    once the output has the targets' shape.
    """
    return [
        (i, j)
        for i, o in enumerate(seen.outputs.detached)
        for j, y in enumerate(seen.targets.tensors)
        if is_real(y) and o.shape != y.shape and same_but_ones(o, y) and _broadcasts(seen, i, j)
    ]


def _broadcasts(seen: Dependence, i: int, j: int) -> bool:
    o, y = seen.points[1][i], seen.targets.tensors[j]
    unpaired = _unpaired_terms(seen, i, j)
    mended = (
        _paired_terms(seen, i, j, o.reshape(y.shape), y), _paired_terms(seen, i, j, o, y.reshape(o.shape))
    )  # fmt: skip
    return any(unpaired & paired for paired in mended)


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
