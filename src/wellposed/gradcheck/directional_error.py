"""The error of the claimed gradient along one direction, with an error bar that a wrong gradient cannot bias.

With F at x + h u and x - h u and the moves really made, the residual slope is
``r(h) = (F+ - F- - <g, x+ - x->) / 2h = e + c h^2``; e is the error of the gradient along the direction. The even residual
``s(h) = (F+ + F- - 2 F0) / 2h = a h`` holds kinks and noise but no gradient error: what remains of it after a h is removed widens the bar.

The bar has the noise of F over the step, a part of the truncation c h^2, and the kink; in low precision it is at least as wide as the
estimates at neighbouring steps scatter; the rounding of the claimed gradient is added to it. `noise` measures the first and the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from itertools import pairwise
from math import inf

import numpy as np

from ..differentiate.noise import POINTS
from .differences import DifferencePair, Differences
from .directions import Direction, jittered, random_direction, signs_of
from .error_estimate import (
    DEVIATIONS,
    FLAG,
    LONGEST_STEP,
    RATIO,
    Adjustment,
    ErrorEstimate,
    ShortStepEstimate,
    at_kink,
    extrapolated,
    next_step,
    no_estimate,
)
from .noise import HALF, LOW_PRECISION, SPACING, gradient_noise, noise_of_f, repeat_noise
from .objective import Objective

MOST_PAIRS = 4
"""Further pairs of steps that are tried along one direction."""
LONGEST_FIRST_STEP = 0.1
SHORTEST_STEP = 1e-12
MANY_ROUNDINGS, FEW_ROUNDINGS = 64.0, 8.0
"""Shortest step in roundings of a typical element, in full and in half precision: along shorter ones too many elements do not move."""
ROUNDINGS_OF_ZERO = 100.0
"""A gradient within this many roundings of the largest one counts as zero."""
SLOPES, FORWARD_STEP = 4, 1e-2
"""Number of directions, and step, from which the norm of a forward-mode derivative is estimated."""


class ErrorEstimator:
    """Estimates the gradient's error along directions from one point; holds what these estimates share: F there, its noise, a first step."""

    def __init__(self, objective: Objective, *, seed: int) -> None:
        self.objective, self.seed = objective, seed
        self._n_directions = 0
        """Directions drawn so far: the key of the next one."""
        self.all_tensors = tuple(range(len(objective.shapes)))
        self.scales = tensor_scales(objective)
        self.step_multipliers: Mapping[int, float] = {}
        """How many times further than the others a tensor is moved, so that one with a small gradient can be measured beside them."""
        self.norms = tuple(self._norm(i) for i in self.all_tensors)
        """Of the claimed gradients."""
        self.tensor_slopes = tuple(s * n for s, n in zip(self.scales, self.norms, strict=True))
        """Typical slope of F when one tensor moves by its own size."""
        self.differences = Differences(objective)
        self.repeat_noise = repeat_noise(objective, self.centre)
        self.scale_of_f = max(abs(self.centre), float(np.linalg.norm(self.tensor_slopes)), 1e-300)
        """|F| or the norm of the slopes, whichever is larger; used to choose the first step."""
        self.step_limit = LONGEST_STEP
        """The longest step: shorter where F oscillates over moves shorter than its arguments are large."""
        self.has_waves = False
        """Whether F was seen to oscillate so, for any group of tensors."""
        noise, self.short_steps = noise_of_f(self.differences, lambda: self.new_direction(self.all_tensors))
        """The gradient's error along steps far shorter than those of other estimates, a by-product of measuring the noise."""
        self.noise = max(noise, self.repeat_noise)
        """Standard deviation of the noise in one value of F."""
        self.gradient_noise = gradient_noise(
            objective, self.norms, lambda: self.new_direction(self.all_tensors)
        )
        """The norm of the rounding in each claimed gradient."""
        self.good_step: float | None = None
        """A step that gave a sharp enough estimate: the next direction tries it first."""
        self.searched_spacings: frozenset[float] = frozenset()
        """Spacings at which undeclared rounding inside F was looked for."""

    @property
    def centre(self) -> float:
        """F at the point."""
        return self.differences.centre

    @property
    def first_step(self) -> float:
        """Where noise and truncation balance if F curves on the scale of its arguments: the cube root of the relative noise."""
        furthest = max(self.step_multipliers.values(), default=1.0)
        balance = max(self.noise / (self.scale_of_f * furthest**2), 1e-18) ** (1 / 3)
        shortest = max(1e-7 / furthest, RATIO * self.shortest_step)
        step = float(np.clip(balance, shortest, max(shortest, LONGEST_FIRST_STEP / furthest)))
        return min(step, self.longest_step / RATIO)

    @property
    def longest_step(self) -> float:
        return self.step_limit / max(self.step_multipliers.values(), default=1.0)

    @property
    def shortest_step(self) -> float:
        roundoff = self.objective.roundoff
        return max(SHORTEST_STEP, (FEW_ROUNDINGS if roundoff > HALF else MANY_ROUNDINGS) * roundoff)

    @property
    def finest_step(self) -> float:
        """The shortest step that moves most elements at all; estimates use longer ones."""
        return MANY_ROUNDINGS * self.objective.roundoff

    @property
    def largest_slope(self) -> float:
        """Of any tensor: what the gradient of a tensor is compared with to call it zero."""
        return max(self.tensor_slopes) or abs(self.centre) or 1.0

    def is_zero(self, tensor: int) -> bool:
        """Whether the claimed gradient is nothing but rounding, for example that of a bias in front of a BatchNorm."""
        if self.norms[tensor] == 0:
            return True
        if self.tensor_slopes[tensor] > ROUNDINGS_OF_ZERO * self.objective.roundoff * self.largest_slope:
            return False
        # In low precision a small gradient may be below that and still real: its own measured rounding decides.
        fine = self.objective.roundoff < LOW_PRECISION
        return fine or self.norms[tensor] <= FLAG * self.gradient_noise[tensor]

    def _norm(self, tensor: int) -> float:
        """Of the claimed gradient; in forward mode it is estimated from derivatives along random directions."""
        if self.objective.claims_gradient:
            return float(np.linalg.norm(self.objective.gradient(tensor)))
        directions = [self.new_direction((tensor,)) for _ in range(SLOPES)]
        slopes = [self.objective.at(d, FORWARD_STEP).claimed_change / FORWARD_STEP for d in directions]
        return float(np.sqrt(np.mean(np.square(slopes)))) / self.scales[tensor]

    @contextmanager
    def multiplied_steps(self, step_multipliers: Mapping[int, float]) -> Iterator[None]:
        """A scope in which these tensors move so many times further, with steps that suit them together; {} changes nothing."""
        if not step_multipliers:
            yield
            return
        before = self.step_multipliers, self.good_step, self.scale_of_f, self.short_steps, self.step_limit
        self.step_multipliers, self.good_step, self.step_limit = step_multipliers, None, LONGEST_STEP
        self.short_steps = (
            self._estimate_at_short_steps(self.new_direction(tuple(step_multipliers)))
            if self.has_waves
            else None
        )
        self.scale_of_f = self.slope_norm(tuple(step_multipliers)) or self.scale_of_f
        try:
            yield
        finally:
            self.step_multipliers, self.good_step, self.scale_of_f, self.short_steps, self.step_limit = before

    def apply(self, adjustment: Adjustment) -> bool:
        """Take over what was found out about F; whether earlier estimates are to be made again with it."""
        self.searched_spacings |= adjustment.searched_spacings
        self.noise = max(self.noise, adjustment.noise)
        if adjustment.step_limit is not None:
            self.step_limit, self.good_step, self.has_waves = adjustment.step_limit, None, True
        return adjustment.matters

    def slope_scale(self, tensor: int) -> float:
        """Typical slope of F along a direction of one tensor, with its step multiplier."""
        return self.step_multipliers.get(tensor, 1.0) * self.tensor_slopes[tensor]

    def slope_norm(self, tensors: Sequence[int]) -> float:
        """Typical slope of F along a direction of several tensors."""
        return float(np.linalg.norm([self.slope_scale(i) for i in tensors]))

    def _lengths(self) -> list[float]:
        """How far each tensor moves for a step of 1: its size times its multiplier."""
        return [self.step_multipliers.get(i, 1.0) * self.scales[i] for i in self.all_tensors]

    def new_full_direction(self) -> Direction:
        """A random direction of all tensors, without step multipliers."""
        return random_direction(self.all_tensors, self.objective.shapes, self.scales, self._new_key())

    def new_direction(self, tensors: Sequence[int]) -> Direction:
        """A random direction that was not used before."""
        return random_direction(tensors, self.objective.shapes, self._lengths(), self._new_key())

    def same_signs(self, direction: Direction) -> Direction:
        """A direction with the same signs and new magnitudes."""
        return jittered(direction, self.objective.shapes, self._new_key())

    def _new_key(self) -> tuple[int, int]:
        self._n_directions += 1
        return self.seed, self._n_directions

    def signs_of_gradient(self, tensors: Sequence[int]) -> Direction | None:
        moving = [i for i in tensors if self.norms[i] > 0]
        return signs_of("gradient", self.objective.gradient, moving, self._lengths()) if moving else None

    def signs_of_parameters(self, tensors: Sequence[int]) -> Direction | None:
        moving = [i for i in tensors if np.any(self.objective.point(i))]
        return signs_of("parameter", self.objective.point, moving, self._lengths()) if moving else None

    def _estimate_at_short_steps(self, direction: Direction) -> ShortStepEstimate | None:
        furthest = max(self.step_multipliers.values(), default=1.0)
        spacing = max(SPACING / furthest, MANY_ROUNDINGS) * self.objective.roundoff
        steps = [k * spacing for k in range(1, POINTS)]
        return ShortStepEstimate.of(direction, [(t, self.differences.residual(direction, t)) for t in steps])

    def for_objective(self, objective: Objective) -> ErrorEstimator:
        """The same estimator for an objective that is as noisy and has tensors of the same size: another point, or another gradient."""
        other = copy(self)
        other.objective = objective
        other.differences = Differences(objective)
        return other

    def gradient_noise_along(self, tensors: Sequence[int]) -> float:
        """Standard deviation of the claimed derivative along a direction, from the rounding of the claimed gradient."""
        return float(np.linalg.norm([self.gradient_noise[i] * self._lengths()[i] for i in tensors]))

    def estimate_along(
        self, direction: Direction, *, wanted: float, start: float | None = None
    ) -> ErrorEstimate:
        """The error along a direction; step lengths are tried until the bar is below `wanted`.

        When most of the bar is noise, longer steps follow; when most of it is truncation or kinks, shorter ones.
        """
        start = start or self.good_step or self.first_step
        lengths = (RATIO, 1.0, 1 / RATIO) if self.good_step is None else (1.0, 1 / RATIO)
        pairs = [self.differences.pair(direction, start * f) for f in lengths]
        estimates = [self._extrapolated(a, b, direction) for a, b in pairwise(pairs) if a and b]
        too_short, too_long = 0.0, inf
        if not estimates:
            too_long = start / RATIO
        for _ in range(MOST_PAIRS):
            best = min(estimates, key=lambda r: r.bar, default=None)
            if best is not None and best.bar <= wanted:
                self.good_step = best.step
                break
            for estimate in estimates:
                if estimate.noise_bar > 0.5 * estimate.bar:
                    too_short = max(too_short, estimate.step)
                else:
                    too_long = min(too_long, estimate.step)
            step = next_step(
                too_short, too_long, shortest=RATIO * self.shortest_step, longest=self.longest_step
            )
            if step is None:
                break
            pair = [self.differences.pair(direction, step), self.differences.pair(direction, step / RATIO)]
            if pair[0] and pair[1]:
                estimates.append(self._extrapolated(pair[0], pair[1], direction))
            else:
                too_long = min(too_long, step)
        best = min(estimates, key=lambda r: r.bar, default=None)
        if best is None:
            return no_estimate(direction, start)
        rounding = DEVIATIONS * self.gradient_noise_along(direction.tensors)
        return replace(
            best,
            bar=max(best.bar, self._disagreement(best, estimates)) + rounding,
            flat=all(r.flat for r in estimates),
            at_kink=at_kink(estimates),
            steps_disagree=any(abs(r.error - best.error) > FLAG * (r.bar + best.bar) for r in estimates),
        )

    def _disagreement(self, best: ErrorEstimate, estimates: Sequence[ErrorEstimate]) -> float:
        """The bar with which estimates at neighbouring steps agree with the best one; 0 in float64.

        A wrong gradient is as wrong at every step. In low precision the steps are as long as those of the quantisation of F, and the
        estimates scatter. In float64 a longer step differs by truncation, which has a bar of its own.
        """
        if self.objective.roundoff < LOW_PRECISION:
            return 0.0
        near = [r for r in estimates if best.step / RATIO**2 <= r.step <= best.step * RATIO**2]
        return max(abs(r.error - best.error) / FLAG - r.bar for r in near)

    def estimate_from_two_steps(self, direction: Direction, step: float) -> ErrorEstimate:
        """The error along a direction from `step` and a shorter one; four evaluations."""
        longer, shorter = (
            self.differences.pair(direction, step),
            self.differences.pair(direction, step / RATIO),
        )
        if longer is None or shorter is None:
            return no_estimate(direction, step)
        estimate = self._extrapolated(longer, shorter, direction)
        return replace(estimate, bar=estimate.bar + DEVIATIONS * self.gradient_noise_along(direction.tensors))

    def estimate_from_one_step(self, direction: Direction, step: float, truncation: float) -> ErrorEstimate:
        """The error along a direction from one step, given a bound on the coefficient of h^2; two evaluations."""
        pair = self.differences.pair(direction, step)
        if pair is None:
            return no_estimate(direction, step)
        noise_bar = DEVIATIONS * self.noise / (2**0.5 * step)
        return ErrorEstimate(
            kind=direction.kind,
            error=pair.residual_slope,
            bar=noise_bar
            + abs(truncation) * step**2
            + DEVIATIONS * self.gradient_noise_along(direction.tensors),
            slope=pair.slope,
            step=step,
            kink=0.0,
            truncation=truncation,
            noise_bar=noise_bar,
            flat=pair.flat,
        )

    def _extrapolated(
        self, longer: DifferencePair, shorter: DifferencePair, direction: Direction
    ) -> ErrorEstimate:
        error = extrapolated(longer, shorter)
        truncation = (longer.residual_slope - shorter.residual_slope) / (longer.step**2 - shorter.step**2)
        kink = (longer.step * shorter.even_residual - shorter.step * longer.even_residual) / (
            longer.step - shorter.step
        )
        # In the extrapolation the shorter step has weight 16/15, and each slope is a difference of two noisy values over 2 h.
        noise_bar = DEVIATIONS * 0.76 * self.noise / shorter.step
        estimate = ErrorEstimate(
            kind=direction.kind,
            error=error,
            bar=noise_bar + 0.1 * abs(truncation) * longer.step**2,
            slope=shorter.slope,
            step=longer.step,
            kink=kink,
            truncation=truncation,
            noise_bar=noise_bar,
            # The noise of F+ + F- - 2 F0 over 2 h, where the shorter step has weight 4/3.
            kink_noise=1.7 * self.noise / shorter.step,
            flat=longer.flat and shorter.flat,
            flat_pair=longer.flat and shorter.flat,
        )
        # Kinks change the odd part by as much as the even one, with unknown sign.
        return replace(estimate, bar=estimate.bar + DEVIATIONS * estimate.clear_kink)


def tensor_scales(objective: Objective) -> tuple[float, ...]:
    """The size of a typical element of each tensor, its root mean square; a tensor of zeros gets the median of the others, or 1."""
    points = (objective.point(i) for i in range(len(objective.shapes)))
    rms = [float(np.linalg.norm(p)) / p.size**0.5 for p in points]
    known = [r for r in rms if r > 0]
    fallback = float(np.median(known)) if known else 1.0
    return tuple(r or fallback for r in rms)
