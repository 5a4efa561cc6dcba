"""An independent set of wrong gradients whose bug has a name, written without a look at the code that names them.

Each case is a model, a bug in its backward pass and the names that would be right for it. Of two families no name is asked for: a *hidden*
bug has one (a term, a use of a weight, a sample of a loss that is already summed), and nothing that a check can vary shows which;
*not nameable* has none, so that any name is a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Any

import torch
from torch import Tensor

FAMILIES = (
    "sign-flipped",
    "scaled",
    "missing-mean",
    "mean for sum",
    "zero",
    "transposed",
    "permuted",
    "missing-l2",
    "missing-term",
    "low-precision",
    "sparse",
    "stale",
    "accumulate",
    "mask",
    "hidden",
    "not nameable",
)
Gradients = dict[str, Tensor]
Built = tuple[Any, tuple[Any, ...], Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class NamedBug:
    name: str
    family: str
    build: Callable[[], Built]
    """``(f, inputs, gradient)`` for ``check_gradients(f, *inputs, gradient=gradient)``."""
    right: frozenset[str]
    """Names that say it truly; none for the family that has none."""
    vague: frozenset[str] = frozenset()
    """Names that are true and say less than was to be said: neither right nor wrong."""
    number: float | None = None
    """The factor or the lambda, which the words should hold."""
    elements: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """The wrong elements, where there are few."""


def bug(
    family: str,
    name: str,
    build: Callable[[], Built],
    *,
    right: tuple[str, ...] | None = None,
    vague: tuple[str, ...] = (),
    number: float | None = None,
    elements: tuple[tuple[str, tuple[int, ...]], ...] = (),
) -> NamedBug:
    return NamedBug(
        name=name,
        family=family,
        build=build,
        right=frozenset((family,) if right is None else right),
        vague=frozenset(vague),
        number=number,
        elements=elements,
    )


def hidden(name: str, build: Callable[[], Built]) -> NamedBug:
    return bug("hidden", name, build, right=("missing-term", "accumulate", "mask"))


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A loss as a function of named tensors."""

    loss: Callable[..., Tensor]
    parameters: dict[str, Tensor]
    batch: int = 0


def right_gradients(model: Model, tensors: tuple[Tensor, ...]) -> Gradients:
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in tensors]
        found = torch.autograd.grad(model.loss(*leaves), leaves, materialize_grads=True)
    return dict(zip(model.parameters, found, strict=True))


def changed(model: Model, change: Callable[[Gradients, Gradients], Gradients]) -> Built:
    """The model with a backward pass whose finished gradients are changed: ``change(gradients, parameters)`` gives the new ones of some."""

    def backward(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        found = right_gradients(model, tensors)
        found |= change(dict(found), dict(zip(model.parameters, tensors, strict=True)))
        return tuple(found.values())

    return hand_written(model, backward)


def hand_written(model: Model, backward: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]) -> Built:
    class Claimed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            ctx.save_for_backward(*tensors)
            return model.loss(*tensors)

        @staticmethod
        def backward(ctx, upstream):
            return tuple(upstream * g for g in backward(ctx.saved_tensors))

    return named(lambda *tensors: Claimed.apply(*tensors), model)


def named(f: Callable[..., Any], model: Model) -> Built:
    """The function under a signature that names its tensors."""
    f.__signature__ = Signature([Parameter(n, Parameter.POSITIONAL_ONLY) for n in model.parameters])
    return f, tuple(model.parameters.values()), None


def on(names: str, change: Callable[[Tensor], Tensor]) -> Callable[[Gradients, Gradients], Gradients]:
    """The same change of each of these gradients; ``*`` for all."""
    return lambda g, p: {n: change(g[n]) for n in (g if names == "*" else names.split())}


def of_model(
    family: str,
    model: Callable[[], Model],
    names: str,
    change: Callable[[Tensor], Tensor],
    what: str,
    **known,
) -> NamedBug:
    """A model whose finished gradients of these tensors are changed."""
    return bug(
        family, f"{model.__name__} {names} {what}", lambda: changed(model(), on(names, change)), **known
    )


def drawn(make: Callable[..., Model], seed: int, **options) -> Callable[[], Model]:
    def build() -> Model:
        return make(seed, **options)

    build.__name__ = make.__name__
    return build
