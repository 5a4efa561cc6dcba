"""The gradient itself as a function, so that its own gradient can be checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...errors import ArgumentError, users_code
from ..output_weights import random_weights
from .arguments import Cast, Leaf, Subject, checked_leaves, coarsest
from .per_sample_loss import Loss
from .weighted_outputs import nodes_of, outputs_of

_DEAD_ENDS = ("Error", "NotImplemented")
"""What autograd calls the nodes that raise when a gradient comes to them; it leaves them out where it can."""
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


def second_order(subject: Subject, outputs: Sequence[tuple[str, torch.Tensor]], *, seed: int) -> Subject:
    """``G(x, v)``, the gradient of ``<v, f(x)>`` by x; x and the cotangents v are its leaves.

    Parameters
    ----------
    subject
        The function of first order.
    outputs
        What it returned once, complex ones as real views.
    seed
        Of the cotangents.
    """
    cotangents = tuple(
        Leaf(
            name=f"grad of {name}",
            tensor=_cotangent(y, (seed, 2, i)),
            is_parameter=False,
        )
        for i, (name, y) in enumerate(outputs)
    )
    n = len(subject.leaves)

    def call(placed: Sequence[torch.Tensor], cast: Cast) -> Any:
        leaves, v = placed[:n], placed[n:]
        returned = outputs_of(plain(subject.call(leaves, cast)))
        attached = [(y, w) for (_, y), w in zip(returned, v, strict=True) if y.requires_grad]
        if not attached:
            raise ArgumentError("no output of f depends on what it is checked by: there is no second order")
        found = gradient_of(attached, leaves)
        return {
            f"grad of {leaf.name}": g for leaf, g in zip(subject.leaves, found, strict=True) if g is not None
        }

    leaves = checked_leaves((*subject.leaves, *cotangents))
    return Subject(
        roots=subject.roots,
        leaves=leaves,
        call=call,
        constants=subject.constants,
        dtype=coarsest(leaves),
        order=2,
    )


def plain(returned: Any) -> Any:
    return returned.plain() if isinstance(returned, Loss) else returned


def gradient_of(
    attached: Sequence[tuple[torch.Tensor, torch.Tensor]], leaves: Sequence[torch.Tensor]
) -> Sequence[torch.Tensor | None]:
    with users_code("the backward pass"):
        return torch.autograd.grad(
            [y for y, _ in attached],
            list(leaves),
            grad_outputs=[w.to(y.dtype) for y, w in attached],
            create_graph=True,
            allow_unused=True,
        )


def refuse_dead_ends(summed: torch.Tensor) -> None:
    """Say so when the graph ends at a backward pass that has no derivative: autograd would claim zero."""
    for node in nodes_of(summed):
        if node.name().rpartition("::")[2] in _DEAD_ENDS:
            raise ArgumentError(
                "the backward pass of f has no derivative of its own (it is marked once_differentiable, or not "
                "implemented): check it with order=1, or write a backward pass of differentiable operations"
            )


def refused(error: BaseException) -> ArgumentError | None:
    """What to tell when a backward pass says that it has no derivative; None when the error is another one."""
    text = str(error)
    if not isinstance(error, RuntimeError) or not any(m in text for m in _NO_SECOND_ORDER):
        return None
    return ArgumentError(
        f"the backward pass of f has no derivative of its own ({text.splitlines()[0][:160]}): check it with order=1, "
        "or write a backward pass of differentiable operations"
    )
