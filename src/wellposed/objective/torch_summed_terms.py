"""Terms that are summed over the batch beside others that are averaged: the batch twice over shows which is which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..errors import WellposedError, users_code
from ..runtime.torch.session import Runner
from .result import SummedTerm
from .torch_components import Dependence, differ, gradients_of
from .torch_terms import terms_of

_EXACT = 1e-3

Tensors = Mapping[int, torch.Tensor]


def summed_term(runner: Runner, seen: Dependence) -> SummedTerm | None:
    """How far the terms that are summed and that no target enters outweigh the averaged ones that targets enter.

    By the norm of the gradients on the parameters that both reach. None where the loss has no such terms.
    """
    if not all(len(o) == len(seen.targets.tensors[0]) for o in seen.outputs.tensors):
        return None
    try:
        once = _contributions(seen, _leaves(seen.outputs.detached), {})
        if len(once) < 2:
            return None
        outputs = _leaves([torch.cat([o, o]) for o in seen.outputs.detached])
        targets = {i: torch.cat([t, t]) for i, t in enumerate(seen.targets.tensors)}
        twice = _contributions(seen, outputs, targets)
        if len(once) != len(twice):
            return None
        growth = [_growth(one, two) for one, two in zip(once, twice, strict=True)]
        return _outweighing(runner, seen, growth) if any(_is(g, 2) for g in growth) else None
    except WellposedError:
        return None


def _leaves(outputs: Sequence[torch.Tensor]) -> dict[int, torch.Tensor]:
    return {i: o.clone().requires_grad_() for i, o in enumerate(outputs)}


def _contributions(seen: Dependence, outputs: Tensors, targets: Tensors) -> list[torch.Tensor]:
    return [term.contribution for term in terms_of(lambda: seen.loss(outputs, targets))]


def _is(growth: float | None, times: int) -> bool:
    return growth is not None and abs(growth - times) < _EXACT


def _growth(one: torch.Tensor, two: torch.Tensor) -> float | None:
    return float(two.detach() / one.detach()) if float(one.detach()) else None


def _outweighing(runner: Runner, seen: Dependence, growth: Sequence[float | None]) -> SummedTerm | None:
    rolled = {j: t.roll(1, 0) for j, t in enumerate(seen.targets.tensors)}
    here, there = _gradients(seen, {}), _gradients(seen, rolled)
    with_targets = [
        any(differ(a, b) for a, b in zip(one, other, strict=True))
        for one, other in zip(here, there, strict=True)
    ]
    summed = [k for k, g in enumerate(growth) if _is(g, 2) and not with_targets[k]]
    averaged = [k for k, g in enumerate(growth) if _is(g, 1) and with_targets[k]]
    if not summed or not averaged:
        return None
    above, below = _together(here, summed), _together(here, averaged)
    return SummedTerm(
        outputs=tuple(name for name, g in zip(seen.outputs.names, above, strict=True) if bool(g.any())),
        times=_ratio(_on_parameters(runner, seen, above), _on_parameters(runner, seen, below)),
        rows=len(seen.targets.tensors[0]),
    )


def _together(gradients: list[list[torch.Tensor]], terms: list[int]) -> list[torch.Tensor]:
    return [torch.stack(each).sum(0) for each in zip(*(gradients[k] for k in terms), strict=True)]


def _gradients(seen: Dependence, targets: Tensors) -> list[list[torch.Tensor]]:
    """Of every term by every output."""
    outputs = _leaves(seen.outputs.detached)
    leaves = list(outputs.values())
    return [gradients_of(term, leaves) for term in _contributions(seen, outputs, targets)]


def _on_parameters(
    runner: Runner, seen: Dependence, gradients: Sequence[torch.Tensor]
) -> list[torch.Tensor | None]:
    """Of one term, through the model."""
    pairs = [
        (o, g)
        for o, g in zip(seen.outputs.tensors, gradients, strict=True)
        if o.requires_grad and bool(g.any())
    ]
    parameters = list(runner.trainable.values())
    if not pairs or not parameters:
        return [None] * len(parameters)
    outputs, by = zip(*pairs, strict=True)
    with users_code("the backward pass"):
        return list(torch.autograd.grad(outputs, parameters, by, retain_graph=True, allow_unused=True))


def _ratio(one: Sequence[torch.Tensor | None], other: Sequence[torch.Tensor | None]) -> float:
    """Of the norms, over the parameters that both reach; 0 where there are none."""
    both = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    above, below = (sum(float(pair[k].double().square().sum()) for pair in both) for k in (0, 1))
    return (above / below) ** 0.5 if below else 0.0
