"""Does the loss read the entries of an input that hold a number for "missing", or does the model mask them?"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import WellposedError, users_code
from ..inputs.result import Sentinel
from ..runtime.torch.batch import Batch
from ..runtime.torch.changed_problem import feature_axis
from ..runtime.torch.named_inputs import named_inputs, with_changed_inputs
from ..runtime.torch.session import Runner, seed_everything

_NUDGE = 1 + 2**-10


def masks(
    runner: Runner, batches: Sequence[Batch], name: str, sentinels: Sequence[Sentinel], *, seed: int
) -> bool:
    """Whether the model masks every entry of an input that is one of these numbers, as a few batches show.

    It is told by a mask of its own: then the loss stays the same whatever stands there. Or it compares with the number:
    then no gradient comes there, and nearly the same number makes another loss. A saturated unit does neither.
    """
    told = [b for b in batches if name in (x := named_inputs(b)) and bool(_entries(x[name], sentinels).any())]
    try:
        return bool(told) and _masks(runner, told[0], name, sentinels, seed=seed)
    except WellposedError:
        return False


def _masks(runner: Runner, batch: Batch, name: str, sentinels: Sequence[Sentinel], *, seed: int) -> bool:
    x = named_inputs(batch)[name].detach()
    there = _entries(x, sentinels)

    def loss(values: torch.Tensor) -> torch.Tensor | None:
        seed_everything(seed)
        return runner.evaluate(with_changed_inputs(batch, lambda n, t: values if n == name else t)).loss

    leaf = x.clone().requires_grad_()
    value = loss(leaf)
    if value is None or not value.requires_grad:
        return False
    with users_code("the backward pass"):
        (gradient,) = torch.autograd.grad(value, [leaf], allow_unused=True)
    if gradient is None or not bool(gradient[~there].any()) or bool(gradient[there].any()):
        return False
    others = x[~there].mean()
    stays = _same(loss(torch.where(there, others, x)), value)
    return stays or not _same(loss(torch.where(there, _NUDGE * x, x)), value)


def _same(one: torch.Tensor | None, other: torch.Tensor) -> bool:
    return one is not None and torch.equal(one.detach(), other.detach())


def _entries(x: torch.Tensor, sentinels: Sequence[Sentinel]) -> torch.Tensor:
    """Which entries of an input are one of the numbers, each in its own column."""
    there = torch.zeros_like(x, dtype=torch.bool)
    columns, marked = (t.movedim(feature_axis(x.ndim), -1) for t in (x, there))
    for s in sentinels:
        marked[..., s.column] |= columns[..., s.column] == torch.tensor(s.value, dtype=x.dtype)
    return there
