"""A correct function with a bug planted in its backward pass, and a record of how large that bug was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from .opinfo_cases import Case

KINDS = ("scale", "sign", "zero", "element")
"""All gradients times 1.01; negated; zero; one element of one input's gradient zero."""
FACTORS = {"scale": 1.01, "sign": -1.0, "zero": 0.0}


class Sizes(NamedTuple):
    """Norms of the planted error, of the true gradient, and of the one that is claimed."""

    error: float
    true: float
    claimed: float


class Record:
    """What a bug did, out of reach of the checks, which put every object that a function holds back as it was."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen: dict[int, list[Sizes]] = {}
        """For each input, backward pass by backward pass."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Planted:
    """One bug, and what it did to the gradients each time that a backward pass came by."""

    function: Callable[..., Any]
    kind: str
    place: tuple[int, int] = (0, 0)
    """Input and flat index of the element that is zeroed."""
    record: Record = field(default_factory=Record)

    def __call__(self, *inputs: torch.Tensor) -> Any:
        return self.function(*(_Bent.apply(x, self, i) for i, x in enumerate(inputs)))

    def bend(self, tensor: int, gradient: torch.Tensor) -> torch.Tensor:
        bent = gradient.clone()
        if self.kind != "element":
            bent = FACTORS[self.kind] * gradient
        elif tensor == self.place[0]:
            bent.view(-1)[self.place[1]] = 0.0
        sizes = Sizes(*(float(g.double().norm()) for g in (bent - gradient, gradient, bent)))
        self.record.seen.setdefault(tensor, []).append(sizes)
        return bent

    def errors(self, inputs: Sequence[torch.Tensor], value: float) -> list[float]:
        """How large the bug was in each tensor, in the unit in which a check states its resolution: the smallest of all backward passes.

        Relative to the norm of the claimed gradient; where that is zero, to the largest claimed gradient of the others or to the function's `value`,
        for tensors that move by their own size.
        """
        scales = [float(x.detach().double().square().mean().sqrt()) or 1.0 for x in inputs]
        seen = [self.record.seen.get(i, []) for i in range(len(inputs))]
        largest = max(
            (s.claimed * scale for all_, scale in zip(seen, scales, strict=True) for s in all_), default=0.0
        )
        reference = largest or value or 1.0
        return [
            min(
                (s.error / s.claimed if s.claimed else s.error * scale / reference for s in all_), default=0.0
            )
            for all_, scale in zip(seen, scales, strict=True)
        ]

    def norms(self, tensors: int) -> list[float]:
        return [min((s.true for s in self.record.seen.get(i, ())), default=0.0) for i in range(tensors)]


class _Bent(torch.autograd.Function):
    """The identity; its backward passes on the gradient with the bug in it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, planted: Planted, tensor: int) -> torch.Tensor:
        ctx.planted, ctx.tensor = planted, tensor
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        gradient = gradients[0].to_dense() if gradients[0].is_sparse else gradients[0].contiguous()
        return ctx.planted.bend(ctx.tensor, gradient), None, None


def plant(case: Case, kind: str) -> Planted | None:
    """The case with a bug; None where its gradient is zero, or not finite, so that there is nothing to bend."""
    place = _some_element(case)
    return place and Planted(function=case.function, kind=kind, place=place)


def _some_element(case: Case) -> tuple[int, int] | None:
    """An element, drawn at random, that takes part in the gradient."""
    inputs = [x.detach().clone().requires_grad_() for x in case.inputs]
    draw = torch.Generator().manual_seed(case.seed)
    torch.manual_seed(case.seed)
    total = torch.zeros((), dtype=torch.float64)
    for y in case.function(*(x.clone() for x in inputs)):
        total = total + (y.double() * torch.randn(y.shape, generator=draw, dtype=torch.float64)).sum()
    found = torch.autograd.grad(total, inputs, allow_unused=True)
    dense = {i: g.detach().to_dense().reshape(-1) for i, g in enumerate(found) if g is not None}
    if not all(bool(torch.isfinite(g).all()) for g in dense.values()):
        return None
    taking_part = [i for i, g in dense.items() if bool((g != 0).any())]
    if not taking_part:
        return None
    tensor = taking_part[int(torch.randint(len(taking_part), (), generator=draw))]
    places = torch.nonzero(dense[tensor]).reshape(-1)
    return tensor, int(places[int(torch.randint(len(places), (), generator=draw))])
