"""Kinks and cusps, from second differences f(x+h) + f(x-h) - 2 f(x): no first derivative enters, so what remains as h goes to 0 is a kink."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

THRESHOLD = 8 * 3.3
"""A jump of the slope below so many standard deviations of the noise over the step may be noise: eight times its own deviation."""
SAME = 0.5
"""A jump of the slope keeps at least this part of its size over a rung; for a smooth f 1/64 is left."""
LIKE_NOISE = 2.5
"""And it grows by at most this factor: noise alone grows fourfold over a rung, a kink not, and a cusp of |x|^p by 4^(1-p)."""
ENDLESS = 5
"""Rungs over which a size must grow before it counts as growing without bound."""
SLOWEST, FASTEST, REGULAR = 1.1, 4.5, 0.3
"""Growth over a rung of a size that grows without bound, at least and at most, and its relative change from rung to rung at most."""


@dataclass(kw_only=True, eq=False)
class SlopeJumps:
    """The jump of the slope, |slope to the right - slope to the left|, at each rung.

    second difference(h) = jump h + f'' h^2 + O(h^4) where f is smooth on both sides; two rungs give the jump without f''.
    """

    power: int = 1
    """Which derivative of f jumps: 1 or 2. For 2, a second difference is the step times the difference of the second derivatives on both sides."""
    steps: list[Array] = field(default_factory=list)
    second_differences: list[Array] = field(default_factory=list)
    noises: list[Array] = field(default_factory=list)
    seen: list[Array] = field(default_factory=list)
    thresholds: list[Array] = field(default_factory=list)
    """Sizes below these may be noise."""
    confirmed: list[Array] = field(default_factory=list)
    """The jump on which three rungs up to this one agree; 0 once a shorter step shows that it lies beside x."""

    def add(self, step: Array, second_difference: Array, noise: Array) -> None:
        h = step[:, None]
        if self.steps:
            ratio = self.steps[-1][:, None] / h
            seen = np.abs(
                (ratio**2 * second_difference - self.second_differences[-1]) / ((ratio**2 - ratio) * h)
            )
        else:
            seen = np.zeros_like(second_difference)
        threshold = THRESHOLD * noise / h
        self.seen.append(np.nan_to_num(seen, nan=0.0, posinf=0.0))
        self.thresholds.append(threshold)
        self.confirmed.append(self._confirmed(threshold))
        self.steps.append(step)
        self.second_differences.append(second_difference)
        self.noises.append(noise)

    def _confirmed(self, threshold: Array) -> Array:
        now = self.seen[-1]
        if len(self.seen) < 4:
            return np.zeros_like(now)
        three = np.stack(self.seen[-3:])
        change = three[1:] / np.maximum(three[:-1], 5e-324)
        clear = (three > np.stack(self.thresholds[-3:])).all(axis=0)
        agreed = clear & ((change >= SAME) & (change <= LIKE_NOISE)).all(axis=0)
        before = self.confirmed[-1]
        gone = now + threshold < SAME * before
        return np.where(agreed, three.max(axis=0), np.where(gone, 0.0, before))

    def to_cover(self) -> Array:
        """The jump that the bar at each rung must cover: one that is confirmed at shorter steps is present at longer ones too."""
        return np.maximum.accumulate(np.stack(self.confirmed)[::-1], axis=0)[::-1]

    def grows_without_bound(self) -> NDArray[np.bool_]:
        """Where the jump grows without bound as the steps shrink: a cusp."""
        return growing_without_bound(self.seen, self.thresholds, power=self.power)

    def with_noise_times(self, noise_factor: Array) -> SlopeJumps:
        """The same for noise that is larger by this factor."""
        jumps = SlopeJumps(power=self.power)
        for step, second_difference, noise in zip(
            self.steps, self.second_differences, self.noises, strict=True
        ):
            jumps.add(step, second_difference, noise_factor * noise)
        return jumps

    def take(self, selected: NDArray[np.bool_]) -> SlopeJumps:
        return SlopeJumps(
            power=self.power,
            **{
                name: [a[selected] for a in getattr(self, name)]
                for name in ("steps", "second_differences", "noises", "seen", "thresholds", "confirmed")
            },
        )


def growing_without_bound(sizes: list[Array], thresholds: list[Array], *, power: int) -> NDArray[np.bool_]:
    """Where sizes above the noise grow by the same factor from rung to rung, up to the shortest step at which they are above it.

    |x|^p / h grows regularly, while underestimated noise grows irregularly. Beside a kink the growth ends at a step shorter than the
    distance to it. For second derivatives, `power` 2, a jump of f grows sixteenfold.
    """
    fastest = FASTEST**power
    before, factor, run = (np.zeros(sizes[0].shape) for _ in range(3))
    for size, threshold in zip(sizes, thresholds, strict=True):
        stands = size > threshold
        grown = size / np.maximum(before, 5e-324)
        regular = (
            (grown > SLOWEST) & (grown < fastest) & (np.abs(grown / np.maximum(factor, 5e-324) - 1) < REGULAR)
        )
        ended = ~stands & (before > threshold)
        run = np.where(stands & regular, run + 1, np.where(stands | ended, 0, run))
        before, factor = np.where(stands, size, before), np.where(stands, grown, factor)
    return run >= ENDLESS


def slopes_diverge(slopes: list[Array], steps: list[Array], noise: Array, *, power: int) -> NDArray[np.bool_]:
    """Where the slopes change ever more as the steps shrink, beyond noise: a vertical tangent or a jump at x.

    `steps` are to the `power`.
    """
    changes = [np.nan_to_num(np.abs(b - a)) for a, b in itertools.pairwise(slopes)]
    if not changes:
        return np.zeros(slopes[0].shape, dtype=bool)
    return growing_without_bound(changes, [10 * noise / h[:, None] for h in steps[1:]], power=power)
