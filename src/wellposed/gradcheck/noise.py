"""Where noise enters the error bar of a gradient: rounding and randomness of F, and the rounding of a float32 (or coarser) gradient.

This file measures it; `directional_error` divides by the steps and puts the bar together:

- `noise_of_f` and `repeat_noise`: the standard deviation of one value of F;
- `gradient_noise`: the rounding of the claimed gradient itself, which only matters below float64.

Below float64 two more things widen a bar: the scatter of estimates at neighbouring steps (`directional_error._disagreement`), and
rounding inside F that is coarser than its dtype says (`quantisation`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

import numpy as np

from ..differentiate.noise import POINTS, noise_along
from ..errors import WellposedError
from .differences import Differences
from .directions import Array, Direction
from .error_estimate import ShortStepEstimate
from .objective import Objective

LOW_PRECISION = 1e-12
"""A unit roundoff above this is that of float32 or coarser."""
HALF = 1e-5
"""A unit roundoff above this is that of float16 or bfloat16."""
SPACING = 4096
"""Spacing of the points at which the noise of F is measured, in units of roundoff."""
SUSPICIOUS = 100.0
"""Noise above this many roundings of F may be something else, such as a jump."""
UNROUNDED = 0.1
"""Measured noise below this part of the declared rounding shows that the outputs are exact."""
EXACT_STEPS = (0.4, 0.3, 0.2, 0.15, 0.1, 0.07)
"""Steps at which outputs of half precision are tested for being exact."""
REPEATS = 4
"""Further evaluations at the point once two of them differ."""
SIDES = ((1, 3), (-1, 5))
"""The two gradients that show the rounding of the claimed one: on which side of the point, and of which multiple of F. The multiples have
few bits, so that bfloat16 holds them exactly."""
IGNORES_UPSTREAM = 0.01
"""Relative difference below which two gradients count as the same; linear in the upstream gradient, they would differ by 2/3."""


def repeat_noise(objective: Objective, centre: float) -> float:
    """Standard deviation of repeated evaluations at the point; 0 for a deterministic function."""
    again = objective.at(None, 0.0).value
    if again == centre:
        return 0.0
    values = [centre, again] + [objective.at(None, 0.0).value for _ in range(REPEATS)]
    return float(np.std(values, ddof=1))


def noise_of_f(
    differences: Differences, new_direction: Callable[[], Direction]
) -> tuple[float, ShortStepEstimate | None]:
    """Standard deviation of the rounding in one value of F; and the gradient's error along the short steps that were taken to measure it.

    The second is None in low precision, where so short steps say nothing about the gradient.
    """
    objective, centre = differences.objective, differences.centre
    direction, roundoff = new_direction(), objective.roundoff
    spacing = SPACING * roundoff if roundoff < LOW_PRECISION else 8 * roundoff
    residuals: dict[float, float] = {}

    def value(t: float) -> float:
        moved, residuals[t] = differences.value_and_residual(direction, t)
        return moved

    sigma, _ = noise_along(value, spacing=spacing, widest=max(1e-5, 64 * roundoff), first=centre)
    short_steps = None
    if roundoff < LOW_PRECISION:
        short_steps = ShortStepEstimate.of(direction, list(residuals.items())[1 - POINTS :])
    least = 2.0**-53 * abs(centre)
    floor = max(objective.floor(), least)
    if roundoff > HALF and (measured := _rounding_of_f(differences, new_direction())) < UNROUNDED * floor:
        return max(measured, sigma, least), short_steps
    if sigma > SUSPICIOUS * max(floor, roundoff * abs(centre)):
        # A jump of F looks like noise in a mean square, and hardly changes a median.
        sigma = min(sigma, noise_at_spacing(differences, direction, spacing))
    return max(sigma, floor), short_steps


def noise_at_spacing(differences: Differences, direction: Direction, spacing: float) -> float:
    """The noise between values that lie `spacing` apart: the median fourth difference, which a trend and a few kinks hardly change."""
    # The point itself is left out: F may have a value of its own there, for example where it compares with ==.
    values = np.array([differences.value(direction, spacing * k) for k in range(1, 12)])
    if not np.isfinite(values).all():
        return 0.0
    return float(np.median(np.abs(np.diff(values, 4)))) / (0.6745 * 70**0.5)


def _rounding_of_f(differences: Differences, direction: Direction) -> float:
    """Three standard deviations of the noise in ``F+ + F- - 2 F0``, which holds no gradient error and vanishes for a linear F.

    Outputs that are copies or exact sums are not rounded, whatever their dtype.
    """
    pairs = [differences.pair(direction, step) for step in EXACT_STEPS]
    if not all(pairs) or any(p.flat for p in pairs if p):
        return inf
    return 3 * float(np.sqrt(np.mean([(2 * p.step * p.even_residual) ** 2 for p in pairs if p]) / 6))


def gradient_noise(
    objective: Objective, norms: Sequence[float], new_direction: Callable[[], Direction]
) -> tuple[float, ...]:
    """The norm of the rounding in the claimed gradient of each tensor, from its second difference over a few roundings of the point.

    The gradients on the two sides are those of different multiples of F, since the rounding in a backward pass may depend on the
    upstream gradient alone.
    """
    roundoff = objective.roundoff
    floors = [roundoff * n / 3**0.5 for n in norms]
    if roundoff < LOW_PRECISION or not objective.claims_gradient:
        return tuple(floors)
    direction = new_direction()
    try:
        up, down = (
            objective.moved(direction, side * 4 * roundoff, upstream=multiple) for side, multiple in SIDES
        )
    except WellposedError:  # the gradient does not exist there
        return tuple(floors)
    if up is None or down is None:
        return tuple(floors)
    return tuple(
        floors[i]
        if _ignores_upstream(up.gradient(i), down.gradient(i))
        else _second_difference(objective, up, down, i)
        for i in range(len(norms))
    )


def _second_difference(objective: Objective, up: Objective, down: Objective, i: int) -> float:
    change = up.gradient(i) + down.gradient(i) - 2 * objective.gradient(i)
    # At the point itself the gradient may have a value of its own; then the difference of the two sides is the smaller one.
    apart = up.gradient(i) - down.gradient(i)
    return min(float(np.linalg.norm(change)) / 6**0.5, float(np.linalg.norm(apart)) / 2**0.5)


def _ignores_upstream(up: Array, down: Array) -> bool:
    """Whether the gradient has the same size for every multiple of F: then it is a wrong backward pass, not a rounded one."""
    (_, first), (_, second) = SIDES
    apart = first * np.abs(up) - second * np.abs(down)
    return float(np.linalg.norm(apart)) <= IGNORES_UPSTREAM * first * float(np.linalg.norm(up))
