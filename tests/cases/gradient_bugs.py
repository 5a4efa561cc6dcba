"""A two-layer tanh regression with weight decay, its gradient by hand, and 25 classic bugs in that gradient.

The loss is ``mean((tanh(x W1 + b1) W2 + b2 - y)^2) + lambda/2 (|W1|^2 + |W2|^2)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Gradients = dict[str, Tensor]
NAMES = ("W1", "b1", "W2", "b2")


@dataclass(frozen=True, kw_only=True, eq=False)
class Regression:
    """One drawn problem of about `size` parameters."""

    parameters: tuple[Tensor, ...]
    x: Tensor
    y: Tensor
    decay: float = 1e-3


def draw(size: int, *, dtype: torch.dtype = torch.float64, seed: int = 0, rows: int = 32) -> Regression:
    generator = torch.Generator().manual_seed(seed)
    width = max(4, int(np.sqrt(size / 2)))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    parameters = (
        normal(width, width) / np.sqrt(width),
        normal(width) * 0.1,
        normal(width, width) / np.sqrt(width),
        normal(width) * 0.1,
    )
    x, y = normal(rows, width), normal(rows, width)
    return Regression(parameters=tuple(p.to(dtype) for p in parameters), x=x.to(dtype), y=y.to(dtype))


def loss(problem: Regression, parameters: tuple[Tensor, ...]) -> Tensor:
    w1, b1, w2, b2 = parameters
    outputs = torch.tanh(problem.x @ w1 + b1) @ w2 + b2
    return ((outputs - problem.y) ** 2).mean() + problem.decay / 2 * ((w1 * w1).sum() + (w2 * w2).sum())


@dataclass(kw_only=True)
class Bend:
    """Where a bug may bend the backward pass, from the loss back to the parameters."""

    output: Callable[[Tensor], Tensor] = lambda d: d
    activation: Callable[[Tensor], Tensor] = lambda a: a
    slope: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda s, a, z: s
    gradients: Callable[[Gradients, Tensor, Regression], Gradients] = lambda g, dz, problem: g


def backward(problem: Regression, parameters: tuple[Tensor, ...], bend: Bend) -> tuple[Tensor, ...]:
    w1, b1, w2, b2 = parameters
    z = problem.x @ w1 + b1
    a = torch.tanh(z)
    outputs = a @ w2 + b2
    d = bend.output(2 * (outputs - problem.y) / outputs.numel())
    a = bend.activation(a)
    dz = (d @ w2.t()) * bend.slope(1 - a * a, a, z)
    found = {
        "W1": problem.x.t() @ dz + problem.decay * w1,
        "b1": dz.sum(0),
        "W2": a.t() @ d + problem.decay * w2,
        "b2": d.sum(0),
    }
    found = bend.gradients(found, dz, problem)
    return tuple(found[name] for name in NAMES)


def hand_written(
    problem: Regression, bend: Bend, *, only: torch.dtype | None = None
) -> Callable[..., Tensor]:
    """The loss as a torch function of the parameters with this backward pass; `only`: like a kernel that exists in one precision."""

    class TwoLayers(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *parameters):
            if only is not None and parameters[0].dtype is not only:
                raise TypeError(f"no kernel for {parameters[0].dtype}: expected {only}")
            ctx.save_for_backward(*parameters)
            return loss(problem, parameters)

        @staticmethod
        def backward(ctx, upstream):
            return tuple(upstream * g for g in backward(problem, ctx.saved_tensors, bend))

    return lambda *P: TwoLayers.apply(*P)


def _each(change: Callable[[Tensor], Tensor], *names: str) -> Bend:
    """Change the finished gradients of the named parameters."""
    return Bend(
        gradients=lambda found, dz, problem: {k: change(g) if k in names else g for k, g in found.items()}
    )


def _middle_element(factor: float) -> Bend:
    """One element of W1's gradient, of median magnitude, times a factor."""

    def change(gradient: Tensor) -> Tensor:
        flat = gradient.clone().reshape(-1)
        flat[int(gradient.abs().reshape(-1).argsort()[gradient.numel() // 2])] *= factor
        return flat.view_as(gradient)

    return _each(change, "W1")


def _without_last_row(d: Tensor) -> Tensor:
    return torch.cat([d[:-1], torch.zeros_like(d[-1:])])


def _swapped(gradient: Tensor) -> Tensor:
    return gradient[:, [1, 0, *range(2, gradient.shape[1])]]


def _without_decay(found: Gradients, dz: Tensor, problem: Regression) -> Gradients:
    w1, _, w2, _ = problem.parameters
    return found | {"W1": found["W1"] - problem.decay * w1, "W2": found["W2"] - problem.decay * w2}


def _stale(problem: Regression) -> Bend:
    """Activations of the first call ever, which was made at other parameters: a cache by shape and precision that is never emptied."""
    generator = torch.Generator().manual_seed(1)
    others = tuple(
        p + 0.1 * torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
        for p in problem.parameters
    )
    bend = unprimed_cache()
    backward(problem, others, bend)
    return bend


def unprimed_cache() -> Bend:
    """The same cache before any call: whoever asks first gets a right gradient, and everyone else gets that one's activations."""
    cache: dict[tuple[torch.Size, torch.dtype], Tensor] = {}
    return Bend(activation=lambda a: cache.setdefault((a.shape, a.dtype), a.clone()))


@dataclass(frozen=True, kw_only=True)
class Bug:
    """One bug; `cause` is the name that a check gives it, None where it has none."""

    name: str
    bend: Callable[[Regression], Bend]
    cause: str | None = None


def _bug(name: str, bend: Bend, cause: str | None = None) -> Bug:
    return Bug(name=name, bend=lambda problem: bend, cause=cause)


BUGS = (
    _bug("W1 negated", _each(lambda g: -g, "W1"), "sign-flipped"),
    _bug("all doubled", _each(lambda g: 2 * g, *NAMES), "scaled"),
    _bug("1/m forgotten", Bend(output=lambda d: d * d.shape[0]), "missing-mean"),
    _bug("W2 transposed", _each(lambda g: g.t().contiguous(), "W2"), "transposed"),
    _bug("b1 from one row", Bend(gradients=lambda found, dz, problem: found | {"b1": dz[0].clone()})),
    _bug("W1 detached", _each(torch.zeros_like, "W1"), "zero"),
    _bug("z saved for a", Bend(slope=lambda s, a, z: 1 - z * z)),
    _bug("all 1 % off", _each(lambda g: 1.01 * g, *NAMES), "scaled"),
    _bug("all 0.1 % off", _each(lambda g: 1.001 * g, *NAMES), "scaled"),
    _bug("one element half as much again", _middle_element(1.5), "sparse"),
    _bug("one element zero", _middle_element(0.0), "sparse"),
    _bug("one element 1 % off", _middle_element(1.01), "sparse"),
    _bug("slope wrong below zero", Bend(slope=lambda s, a, z: torch.where(a < 0, torch.ones_like(s), s))),
    _bug("weight decay forgotten", Bend(gradients=_without_decay), "missing-l2"),
    Bug(name="stale activations", bend=_stale),
    _bug("b2 zero", _each(torch.zeros_like, "b2"), "zero"),
    _bug("W1 rolled by a row", _each(lambda g: g.roll(1, 0), "W1"), "permuted"),
    _bug("last row dropped", Bend(output=_without_last_row)),
    _bug("b1 averaged, not summed", Bend(gradients=lambda f, dz, problem: f | {"b1": dz.mean(0)}), "scaled"),
    _bug("clipped to 0.9", _each(lambda g: 0.9 * g, *NAMES), "scaled"),
    _bug("through bfloat16", _each(lambda g: g.bfloat16().to(g.dtype), *NAMES), "low-precision"),
    _bug("two neurons swapped", _each(_swapped, "W1"), "permuted"),
    _bug("W1 1 % off", _each(lambda g: 1.01 * g, "W1"), "scaled"),
    _bug("b2 doubled", _each(lambda g: 2 * g, "b2"), "scaled"),
    _bug("W2 halved", _each(lambda g: 0.5 * g, "W2"), "scaled"),
)


def true_errors(problem: Regression, bend: Bend) -> tuple[float, ...]:
    """How wrong each tensor's gradient is, ``|claimed - right| / |right|``, the claimed one as computed in the problem's own precision."""
    right = backward(as_float64(problem), as_float64(problem).parameters, Bend())
    claimed = backward(problem, problem.parameters, bend)
    return tuple(float((c.double() - r).norm() / r.norm()) for c, r in zip(claimed, right, strict=True))


def as_float64(problem: Regression) -> Regression:
    return Regression(
        parameters=tuple(p.double() for p in problem.parameters),
        x=problem.x.double(),
        y=problem.y.double(),
        decay=problem.decay,
    )
