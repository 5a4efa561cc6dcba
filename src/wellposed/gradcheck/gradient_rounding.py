"""The rounding of the claimed gradient, which goes into error bars below float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import WellposedError
from .directions import Array, Direction
from .objective import Objective

UPSTREAM = ((1, 3), (-1, 5))
"""Side and multiple of F of the gradients that show the rounding of the claimed one: products of few bits, which bfloat16 holds exactly."""
LOW_PRECISION = 1e-12
"""A unit roundoff above this is that of float32 or coarser."""
DEAF = 0.01
"""Part of a gradient; one that is linear in what comes from above is 2/3 away."""


def gradient_noise(
    objective: Objective, norms: Sequence[float], draw: Callable[[], Direction]
) -> tuple[float, ...]:
    """The norm of the rounding in the claimed gradient of each tensor: its second difference over a few roundings of the point.

    The two that are compared come from other multiples of F, since rounding in a backward pass may depend on what comes from above alone.
    """
    roundoff = objective.roundoff
    floors = [roundoff * n / 3**0.5 for n in norms]
    if roundoff < LOW_PRECISION or not objective.claims_gradient:
        return tuple(floors)
    direction = draw()
    try:
        sides = [
            objective.moved(direction, side * 4 * roundoff, upstream=upstream) for side, upstream in UPSTREAM
        ]
    except WellposedError:  # no gradient there: the floor is what is known
        return tuple(floors)
    up, down = sides
    if up is None or down is None:
        return tuple(floors)
    return tuple(
        floors[i]
        if _is_deaf(up.gradient(i), down.gradient(i))
        else _second_difference(objective, up, down, i)
        for i in range(len(norms))
    )


def _second_difference(objective: Objective, up: Objective, down: Objective, i: int) -> float:
    change = up.gradient(i) + down.gradient(i) - 2 * objective.gradient(i)
    # A gradient that has a value of its own at the very point, as where it compares with ==, is far from both sides; they show no more than rounding.
    apart = up.gradient(i) - down.gradient(i)
    return min(float(np.linalg.norm(change)) / 6**0.5, float(np.linalg.norm(apart)) / 2**0.5)


def _is_deaf(up: Array, down: Array) -> bool:
    """Whether the size of a gradient is the same for every multiple of F: that is no rounding, but a wrong backward pass."""
    (_, many), (_, more) = UPSTREAM
    apart = many * np.abs(up) - more * np.abs(down)
    return float(np.linalg.norm(apart)) <= DEAF * many * float(np.linalg.norm(up))
