"""The lowest loss that descent on free outputs reaches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..errors import WellposedError
from .torch_outputs import Loss

_DESCENT_STEPS = 200
_FEWER_STEPS = 60  # where a step takes long
_LARGE_OUTPUTS = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Descent:
    """Where descent on free outputs led."""

    lowest: float
    falls_on: bool
    """Whether the loss does not level off there."""


def value_of(loss: Loss, o: torch.Tensor) -> float | None:
    """The loss of given outputs, or None where it cannot be evaluated there (a probability above 1, say)."""
    try:
        return float(loss(o).detach())
    except WellposedError:
        return None


def finite_value(loss: Loss, o: torch.Tensor) -> float | None:
    value = value_of(loss, o)
    return value if value is not None and math.isfinite(value) else None


def floor_of(
    loss: Loss,
    start: torch.Tensor,
    form: Callable[[torch.Tensor], torch.Tensor],
    step: float,
    *,
    few: bool = False,
) -> float | None:
    """Lowest loss that descent on free outputs reaches; None when it does not level off or cannot be evaluated.

    In `few` steps where each runs the model.
    """
    found = descend(loss, start, form, step, few=few)
    return None if found is None or found.falls_on else found.lowest


def descend(
    loss: Loss,
    start: torch.Tensor,
    form: Callable[[torch.Tensor], torch.Tensor],
    step: float,
    *,
    few: bool = False,
) -> Descent | None:
    """Go down a loss of free outputs; None where it cannot be evaluated on the way."""
    z = start.detach().clone().requires_grad_(True)
    steps = _FEWER_STEPS if few or form(z).numel() > _LARGE_OUTPUTS else _DESCENT_STEPS
    longest = 0.1 * step * _DESCENT_STEPS / steps  # so that all steps together go as far
    descent = torch.optim.Adam([z], lr=longest)
    trace: list[float] = []
    for i in range(steps):
        descent.param_groups[0]["lr"] = longest * 0.5 * (1 + math.cos(math.pi * i / steps))
        descent.zero_grad()
        try:
            value = loss(form(z))
        except WellposedError:
            return None
        if not math.isfinite(float(value.detach())) or not value.requires_grad:
            return None
        trace.append(float(value.detach()))
        # By the outputs alone: a loss may hold other graphs, such as a penalty's, that are gone after one pass.
        (z.grad,) = torch.autograd.grad(value, [z], allow_unused=True)
        descent.step()
    return Descent(lowest=min(trace), falls_on=_falls_on(loss, form, start, z.detach(), trace))


def _falls_on(
    loss: Loss,
    form: Callable[[torch.Tensor], torch.Tensor],
    start: torch.Tensor,
    end: torch.Tensor,
    trace: list[float],
) -> bool:
    """Whether going as far again in the same direction gains as much as 5 % again: then there is no floor."""
    beyond = value_of(lambda o: loss(form(o)), end + (end - start))
    return beyond is not None and min(trace) - beyond > 0.05 * (trace[0] - min(trace)) + 1e-9 * abs(trace[0])
