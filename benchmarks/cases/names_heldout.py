"""Held-out wrong gradients: how a case of them is written. The cases lie in the files beside this one.

Written by an engineer who had not read the code that names, nor the cases of `named_bugs`; the names that are right were set before any run.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .named_bug import Built, NamedBug, bug

Grads = list[Any]
Alter = Callable[[Grads, Tensor, Sequence[Tensor]], Any]
F32, F64 = torch.float32, torch.float64


class Drawn:
    """Normal numbers that depend on the name of the case and on the draw."""

    draw = 0

    def __init__(self, name: str) -> None:
        self.generator = torch.Generator().manual_seed(zlib.crc32(f"{name}/{Drawn.draw}".encode()))

    def __call__(self, *shape: int, dtype: torch.dtype = F64) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=F64).to(dtype)

    def below(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self.generator)

    def array(self, *shape: int) -> Any:
        return self(*shape).numpy()


def case(
    family: str,
    name: str,
    make: Callable[[Drawn], Built],
    *,
    right: tuple[str, ...] | None = None,
    vague: tuple[str, ...] = (),
    number: float | None = None,
) -> NamedBug:
    return bug(family, name, lambda: make(Drawn(name)), right=right, vague=vague, number=number)


def own(forward: Callable[..., Tensor], backward: Callable[..., Any]) -> Any:
    """An ``autograd.Function`` with ``backward(grad_output, *inputs)``, which returns one gradient an input."""

    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            ctx.save_for_backward(*inputs)
            return forward(*inputs)

        @staticmethod
        def backward(ctx: Any, grad_output: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
            return backward(grad_output, *ctx.saved_tensors)

    return Own.apply


def pulled_back(forward: Callable[..., Tensor], inputs: Sequence[Tensor], grad_output: Tensor) -> Grads:
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in inputs]
        return list(torch.autograd.grad(forward(*leaves), leaves, grad_output))


def altered(forward: Callable[..., Tensor], alter: Alter) -> Any:
    """A Function whose right gradients are changed in place by ``alter(gradients, grad_output, inputs)``."""

    def backward(grad_output: Tensor, *inputs: Tensor) -> Any:
        gradients = pulled_back(forward, inputs, grad_output)
        alter(gradients, grad_output, inputs)
        return tuple(gradients)

    return own(forward, backward)


def changed(which: int, change: Callable[[Tensor], Any]) -> Alter:
    """The gradient of one tensor is another function of the right one."""

    def alter(gradients: Grads, _: Tensor, __: Sequence[Tensor]) -> None:
        gradients[which] = change(gradients[which])

    return alter


def all_changed(change: Callable[[Tensor], Any]) -> Alter:
    def alter(gradients: Grads, _: Tensor, __: Sequence[Tensor]) -> None:
        gradients[:] = [change(d) for d in gradients]

    return alter
