"""One recorded call of a hand-written ``autograd.Function``, which can be run again by itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import torch
from torch.utils._pytree import tree_map

from ...runtime.torch.restore import preserved
from ...runtime.torch.session import seed_everything

Function = Callable[..., Any]
Tensors = list[torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedCall:
    """The arguments of one call of a Function, and the upstream gradients of its outputs."""

    name: str
    where: str = ""
    """Dotted name of the module that it ran in; empty outside of any."""
    kind: Any = None
    """The class; None when it cannot be called again, and `reason` says why."""
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)
    cotangents: tuple[torch.Tensor | None, ...] = ()
    """One for each output, as laid out in memory as they came; empty when the backward pass of the loss did not get here."""
    outputs_there: tuple[Any, ...] = ()
    """What the forward pass gave in the model."""
    returned: tuple[Any, ...] = ()
    """The gradients of all arguments that the backward pass gave in the model."""
    twice: bool = False
    """Whether the gradient was differentiated once more, as a gradient penalty does."""
    seconds: float = 0.0
    """What one forward call took."""
    reason: str = ""

    @property
    def places(self) -> tuple[int, ...]:
        """Positions of the arguments that are differentiated by."""
        return tuple(i for i, a in enumerate(self.arguments) if differentiable(a))

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        return tuple(self.arguments[i].detach() for i in self.places)

    @property
    def flows(self) -> bool:
        """Whether any gradient reached it that is not zero."""
        return any(c is not None and bool((c != 0).any()) for c in self.cotangents)

    def with_recorded_upstream(self, dense_inputs: bool = False, dense_cotangents: bool = False) -> Function:
        """<cotangent, outputs> as a function of `inputs`: its gradient is what the backward pass returned in the model.

        Inputs and cotangents have their recorded strides, on which bugs of kernels may depend, unless dense ones are asked for.
        """
        apply = self._applied(dense=dense_inputs)
        held = [
            None if c is None else _HiddenTensor(c.contiguous() if dense_cotangents else c)
            for c in self.cotangents
        ]

        def with_recorded_upstream(*inputs: torch.Tensor) -> torch.Tensor:
            outputs = apply(*inputs)
            parts = [
                _UpstreamProduct.apply(y, c)
                for y, c in zip(outputs, held, strict=True)
                if c is not None and _has_graph(y)
            ]
            return torch.stack(parts).sum() if parts else torch.zeros((), dtype=torch.float64)

        named = self._named(with_recorded_upstream)
        named.given_upstream = True  # type: ignore[attr-defined]
        return named

    def outputs(self, *, masked: bool = True) -> Function:
        """The outputs with an upstream gradient, as a function of `inputs`; with `masked`, zero where that gradient is zero.

        There, for example at padding, a backward pass need not be right, and the output may be anything.
        """
        apply = self._applied(dense=False)
        reached = [c != 0 for c in self.cotangents if c is not None] if self.flows else []
        wanted = [c is not None for c in self.cotangents]

        def outputs(*inputs: torch.Tensor) -> Any:
            found = apply(*inputs)
            if not reached:
                return tuple(y for y in found if _has_graph(y))
            flowing = zip(compress(found, wanted), reached, strict=True)
            return tuple(
                y if not masked or bool(m.all()) else torch.where(m, y, 0)
                for y, m in flowing
                if _has_graph(y)
            )

        return self._named(outputs)

    def nonlinearity(self, *, seed: int) -> float:
        """How far the backward pass is from linear in the gradient that it is given: |B(c) + B(r) - B(c + r)| / |B(c)|, r random.

        A backward pass that is right for a random r and linear between r and c is right for c.
        """
        with self._backward(seed) as (backward, here, other):
            both = [c + r for c, r in zip(here, other, strict=True)]
            lone, second, joint = (backward(seeds) for seeds in (here, other, both))
        return float((lone + second - joint).norm() / lone.norm())

    def strayed(self, *, seed: int) -> float:
        """Relative difference between the gradient returned in the model and the one that the same call returns by itself.

        0 where the forward pass differs too, for example because it draws random numbers.
        """
        with self._backward(seed) as (backward, here, _):
            alone = backward(here)
        there = [self.returned[i] for i in self.places if i < len(self.returned)]
        if len(there) < len(self.places) or not self._repeats(seed):
            return 0.0
        given = _joined(
            [torch.zeros_like(x) if g is None else g for g, x in zip(there, self.inputs, strict=True)]
        )
        return float((given - alone).norm() / (alone.norm() or given.norm() or 1))

    def _repeats(self, seed: int) -> bool:
        """Whether the forward pass by itself gives what it gave in the model, up to rounding."""
        apply = self._applied(dense=False)
        with preserved(apply), torch.no_grad():
            seed_everything(seed)
            found = apply(*(x.clone() for x in self.inputs))
        pairs = [
            (a, b) for a, b in zip(found, self.outputs_there, strict=False) if isinstance(a, torch.Tensor)
        ]
        return len(found) == len(self.outputs_there) and all(_close(a, b) for a, b in pairs)

    def ignores_gradient(self, *, seed: int) -> bool:
        """Whether the backward pass returns the same whatever gradient it is given."""
        with self._backward(seed) as (backward, here, other):
            return torch.equal(backward(here), backward(other))

    @contextmanager
    def _backward(self, seed: int) -> Iterator[tuple[Callable[[Tensors], torch.Tensor], Tensors, Tensors]]:
        """The backward pass of one forward pass, all gradients of the inputs in one; the real gradients to give it, and random ones."""
        apply = self._applied(dense=False)
        with preserved(apply):
            seed_everything(seed)
            inputs = [x.clone().requires_grad_() for x in self.inputs]
            found = apply(*(x.clone() for x in inputs))
            outputs = [y for y, c in zip(found, self.cotangents, strict=True) if c is not None]
            here = [c for c in self.cotangents if c is not None]
            other = [torch.randn_like(c) * c.abs().square().mean().sqrt() * (c != 0) for c in here]

            def backward(seeds: Tensors) -> torch.Tensor:
                fresh = [_as_laid_out(c, c.dtype) for c in seeds]
                gradients = torch.autograd.grad(outputs, inputs, fresh, retain_graph=True, allow_unused=True)
                return torch.cat(
                    [g.detach().reshape(-1).to(torch.complex128) for g in gradients if g is not None]
                )

            yield backward, here, other

    def _named(self, function: Function) -> Function:
        """With the Function's own names for the inputs."""
        function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(n, inspect.Parameter.POSITIONAL_ONLY) for n in self.names]
        )
        return function

    @property
    def names(self) -> tuple[str, ...]:
        """What its forward pass calls the arguments that are differentiated by."""
        return tuple(self._argument_names()[i] for i in self.places)

    @property
    def given(self) -> str:
        """The arguments in words, to call it with the like of them."""
        return ", ".join(
            f"{n} {_described(a)}" for n, a in zip(self._argument_names(), self.arguments, strict=True)
        )

    def _argument_names(self) -> list[str]:
        try:
            known = list(inspect.signature(self.kind.forward).parameters.values())
        except (TypeError, ValueError):
            known = []
        takes_context = self.kind.setup_context is torch.autograd.Function.setup_context
        positional = [p.name for p in known if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        names = positional[1:] if takes_context else positional
        return [names[i] if i < len(names) else f"argument{i}" for i in range(len(self.arguments))]

    def _applied(self, *, dense: bool) -> Callable[..., tuple[Any, ...]]:
        kind, keywords, places = self.kind, dict(self.keywords), self.places
        strides = [self.arguments[i].stride() for i in places]
        fixed = [None if i in places else a for i, a in enumerate(self.arguments)]

        def applied(*inputs: torch.Tensor) -> tuple[Any, ...]:
            arguments = [tree_map(_fresh, a) for a in fixed]
            for i, x, stride in zip(places, inputs, strides, strict=True):
                arguments[i] = x.contiguous() if dense else _laid_out(x, stride)
            found = kind.apply(*arguments, **keywords)
            return tuple(found) if isinstance(found, tuple | list) else (found,)

        return applied


def _joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([t.detach().to_dense().reshape(-1).to(torch.complex128) for t in tensors])


def _close(a: torch.Tensor, b: Any) -> bool:
    if not isinstance(b, torch.Tensor) or a.shape != b.shape or a.dtype is not b.dtype:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    return torch.allclose(a, b, rtol=64 * torch.finfo(a.dtype).eps, equal_nan=True)


def _described(argument: Any) -> str:
    if not isinstance(argument, torch.Tensor):
        plain = argument is None or isinstance(argument, bool | int | float | str)
        return repr(argument) if plain else type(argument).__name__
    words = f"{str(argument.dtype).removeprefix('torch.')}{list(argument.shape)}"
    return words if argument.is_contiguous() else f"{words} with strides {list(argument.stride())}"


def differentiable(argument: Any) -> bool:
    """Whether autograd differentiates by an argument of a Function: lists are constants to it."""
    return (
        isinstance(argument, torch.Tensor)
        and argument.requires_grad
        and (argument.is_floating_point() or argument.is_complex())
    )


def copied(argument: Any) -> Any:
    """A copy that lies in memory as the original does: a Function may write into its arguments, or depend on their strides."""
    return tree_map(_copied_tensor, argument)


def _copied_tensor(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    plain = value.detach()
    return _as_laid_out(plain, plain.dtype).requires_grad_(value.requires_grad)


def _as_laid_out(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if tensor.layout is not torch.strided or type(tensor) is not torch.Tensor or tensor.is_quantized:
        return tensor.clone()
    # Along an expanded axis all elements are one.
    once = tensor
    for axis, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
        if stride == 0 and size > 1:
            once = once.narrow(axis, 0, 1)
    copy = torch.empty_strided(once.shape, once.stride(), dtype=dtype, device=tensor.device)
    try:
        copy.copy_(once)
    except RuntimeError:  # elements that overlap in another way, as windows of one signal do
        return tensor.to(dtype, copy=True)
    return copy.expand(tensor.shape)


def _fresh(value: Any) -> Any:
    return _as_laid_out(value.detach(), value.dtype) if isinstance(value, torch.Tensor) else value


def _has_graph(y: Any) -> bool:
    return isinstance(y, torch.Tensor) and y.requires_grad


class _HiddenTensor:
    """Holds a cotangent where no search for reachable tensors finds it: to be copied or cast there would change its strides."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor.detach()


class _UpstreamProduct(torch.autograd.Function):
    """Re <cotangent, y> in double precision; its backward pass returns the cotangent with its strides."""

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, held: _HiddenTensor) -> torch.Tensor:
        ctx.held, ctx.dtype = held, y.dtype
        return _projection(held, y)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (g,) = grad_outputs
        # A copy each time, since a backward pass may write into what it is given.
        cotangent = _as_laid_out(ctx.held.tensor, ctx.dtype)
        return cotangent if not g.requires_grad and float(g) == 1.0 else g.to(ctx.dtype) * cotangent, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        return _projection(ctx.held, grad_inputs[0])


def _projection(held: _HiddenTensor, y: torch.Tensor) -> torch.Tensor:
    wide = torch.complex128 if y.is_complex() else torch.float64
    c, values = held.tensor.to(wide), y.to(wide)
    # Where the cotangent is zero the output may be anything, even NaN.
    product = torch.where(c != 0, c.conj() * values, torch.zeros((), dtype=wide, device=y.device))
    return product.sum().real.to(torch.float64)


class _LaidOut(torch.autograd.Function):
    """The same numbers at other strides."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, stride: Sequence[int]) -> torch.Tensor:
        return torch.empty_strided(x.shape, tuple(stride), dtype=x.dtype, device=x.device).copy_(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        return grad_outputs[0], None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        return grad_inputs[0].clone()


def _laid_out(x: torch.Tensor, stride: Sequence[int]) -> torch.Tensor:
    overlaps = any(s == 0 and size > 1 for s, size in zip(stride, x.shape, strict=True))
    return x if overlaps or x.stride() == tuple(stride) else _LaidOut.apply(x, stride)
