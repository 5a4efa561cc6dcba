"""The derivatives that autograd claims: its backward pass, its forward mode, and the backward pass of a backward pass."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import isfinite
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad

from ...errors import ArgumentError, users_code
from ..objective import random_weights
from .arguments import Cast, CheckedFunction, CheckedTensor, coarsest, usable
from .moved_tensors import real_view
from .per_sample_loss import LossForms
from .weighted_outputs import nodes_of, outputs_of

Gradients = tuple[torch.Tensor | None, ...]


def gradients_of(
    summed: torch.Tensor, leaves: Sequence[torch.Tensor], *, accumulated: bool
) -> Sequence[torch.Tensor | None]:
    """The gradients from autograd; with `accumulated` by ``backward()`` and ``.grad``, which is restored."""
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
    """Raised where a re-entrant checkpoint needs ``backward()``, which adds to the ``.grad`` of every leaf of the graph."""


def accumulating(summed: torch.Tensor) -> list[torch.Tensor]:
    """The leaves of the graph, to whose ``.grad`` a backward pass adds."""
    held = (getattr(node, "variable", None) for node in nodes_of(summed))
    return [variable for variable in held if variable is not None]


def is_finite(values: torch.Tensor) -> bool:
    """Whether all values are finite, judged by the extremes, which are NaN if any value is; so no temporary array is needed."""
    return all(isfinite(float(extreme)) for extreme in torch.aminmax(values))


def own_copy(gradient: torch.Tensor) -> torch.Tensor:
    dense = gradient if gradient.layout is torch.strided else gradient.to_dense()
    return real_view(dense).clone(memory_format=torch.contiguous_format)


_OPERATION = re.compile(r"(?:forward AD with|forward-mode AD[^:]*for|derivative for) ['`]?([\w:.]+)")
_MISSING = ("forward AD", "forward-mode AD", "forward mode AD", "jvp")


@contextmanager
def duals(
    tensors: Sequence[torch.Tensor], tangents: Sequence[torch.Tensor | None], is_parameter: Sequence[bool]
) -> Iterator[list[torch.Tensor]]:
    """The tensors with their tangents; a parameter gets its tangent in place, since the function reaches it by itself."""
    ours = not in_forward_mode()
    try:
        _load_formulas()
        with forward_ad.dual_level():
            placed = []
            for tensor, tangent, in_place in zip(tensors, tangents, is_parameter, strict=True):
                if tangent is None:
                    placed.append(tensor)
                elif in_place:
                    with torch.no_grad():
                        tensor.copy_(forward_ad.make_dual(tensor.detach().clone(), tangent))
                    placed.append(tensor)
                else:
                    placed.append(forward_ad.make_dual(tensor, tangent))
            yield placed
    except BaseException:
        if ours:
            _close_level()
        raise


def _close_level() -> None:
    """Leave the dual level of torch; needed after Ctrl-C, which may come before torch has recorded that it was opened or closed."""
    with suppress(RuntimeError):  # it is closed
        torch._C._exit_dual_level(level=0)
    forward_ad._current_level = -1


def in_forward_mode() -> bool:
    """Whether this is inside `duals`."""
    return forward_ad._current_level >= 0


def tangent_of(value: torch.Tensor) -> float:
    tangent = forward_ad.unpack_dual(value).tangent
    return 0.0 if tangent is None else float(tangent.detach())


def forward_mode_refused(error: BaseException) -> ArgumentError | None:
    """The error for an operation without forward mode; None when the error has another cause."""
    text = str(error)
    if not isinstance(error, NotImplementedError | RuntimeError) or not any(m in text for m in _MISSING):
        return None
    found = _OPERATION.search(text)
    what = found[1].lstrip("_") if found else "an operation of f"
    if "custom autograd.Function" in text or "jvp function" in text:
        what = "an autograd.Function of f, which has no jvp"
    return ArgumentError(
        f'forward mode is not implemented for {what}: pass mode="reverse" ({text.splitlines()[0][:120]})'
    )


def _load_formulas() -> None:
    """Create a first dual number, at which torch compiles formulas with a DeprecationWarning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with forward_ad.dual_level():
            forward_ad.make_dual(torch.zeros(()), torch.zeros(()))


_DEAD_ENDS = ("Error", "NotImplemented")
"""Names of autograd nodes that raise when a gradient reaches them."""
_NO_SECOND_ORDER = (
    "once_differentiable",
    "is not implemented",
    "not implemented for",
    "does not support double backward",
    "twice",
)


def _cotangent(y: torch.Tensor, key: Sequence[int]) -> torch.Tensor:
    drawn = random_weights(y.shape, key, spacing=torch.finfo(y.dtype).eps)
    return torch.from_numpy(drawn).to(y.device, y.dtype)


def second_order(
    function: CheckedFunction, outputs: Sequence[tuple[str, torch.Tensor]], *, seed: int
) -> CheckedFunction:
    """``G(x, v)``, the gradient of ``<v, f(x)>`` by x; x and the cotangents v are its leaves.

    Parameters
    ----------
    function
        The function of first order.
    outputs
        What it returned once, complex ones as real views.
    seed
        Of the cotangents.
    """
    cotangents = tuple(
        CheckedTensor(
            name=f"grad of {name}",
            tensor=_cotangent(y, (seed, 2, i)),
            is_parameter=False,
        )
        for i, (name, y) in enumerate(outputs)
    )
    n = len(function.leaves)

    def call(placed: Sequence[torch.Tensor], cast: Cast) -> Any:
        leaves, v = placed[:n], placed[n:]
        returned = outputs_of(plain(function.call(leaves, cast)))
        attached = [(y, w) for (_, y), w in zip(returned, v, strict=True) if y.requires_grad]
        if not attached:
            raise ArgumentError("no output of f depends on what it is checked by: there is no second order")
        with users_code("the backward pass"):
            found = torch.autograd.grad(
                [y for y, _ in attached],
                list(leaves),
                grad_outputs=[w.to(y.dtype) for y, w in attached],
                create_graph=True,
                allow_unused=True,
            )
        return {
            f"grad of {leaf.name}": g for leaf, g in zip(function.leaves, found, strict=True) if g is not None
        }

    leaves = usable((*function.leaves, *cotangents))
    return CheckedFunction(
        roots=function.roots,
        leaves=leaves,
        call=call,
        constants=function.constants,
        dtype=coarsest(leaves),
        order=2,
    )


def plain(returned: Any) -> Any:
    return returned.plain() if isinstance(returned, LossForms) else returned


def refuse_dead_ends(summed: torch.Tensor) -> None:
    """Raise an error where the graph ends at a backward pass without a derivative, for which autograd would claim zero."""
    for node in nodes_of(summed):
        if node.name().rpartition("::")[2] in _DEAD_ENDS:
            raise ArgumentError(
                "the backward pass of f has no derivative of its own (it is marked once_differentiable, or not "
                "implemented): check it with order=1, or write a backward pass of differentiable operations"
            )


def second_order_refused(error: BaseException) -> ArgumentError | None:
    """The error for a backward pass without a derivative; None when the error has another cause."""
    text = str(error)
    if not isinstance(error, RuntimeError) or not any(m in text for m in _NO_SECOND_ORDER):
        return None
    return ArgumentError(
        f"the backward pass of f has no derivative of its own ({text.splitlines()[0][:160]}): check it with order=1, "
        "or write a backward pass of differentiable operations"
    )
