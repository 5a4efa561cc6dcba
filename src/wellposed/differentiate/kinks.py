"""Kinks and cusps, from f(x+h) + f(x-h) - 2 f(x): no first derivative enters it, so what is left of it as h goes to 0 is a kink."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

THRESHOLD = 8 * 3.3
"""Standard deviations of the noise, over the step, below which a jump is not believed: eight times its own deviation."""
SAME = 0.5
"""A jump stays a jump when it keeps this share of its size over a rung; of a smooth f it keeps 1/64."""
LIKE_NOISE = 2.5
"""Noise alone would grow fourfold over a rung; a kink stays, and a cusp of |x|^p grows by 4^(1-p)."""
ENDLESS = 5
"""Rungs over which something must grow before it is said to grow without end."""
SLOWEST, FASTEST, REGULAR = 1.1, 4.5, 0.3
"""Growth over a rung of what grows without end, at least and at most, and how much it may change from rung to rung."""


@dataclass(kw_only=True, eq=False)
class SlopeJumps:
    """|slope to the right - slope to the left|, rung by rung.

    bend(h) = jump h + f'' h^2 + O(h^4) for a smooth f on both sides; two rungs give the jump free of f''.
    """

    power: int = 1
    """Which derivative of f jumps: 1 or 2. For 2, a bend is the step times the difference of the second ones to both sides."""
    steps: list[Array] = field(default_factory=list)
    second_differences: list[Array] = field(default_factory=list)
    noises: list[Array] = field(default_factory=list)
    seen: list[Array] = field(default_factory=list)
    thresholds: list[Array] = field(default_factory=list)
    """What noise alone may look like."""
    confirmed: list[Array] = field(default_factory=list)
    """The jump that three rungs up to this one agree on, until a smaller step shows that it lies beside x and not at it."""

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
        """The jump that an answer from each rung must cover: what still stands at smaller steps is there at larger ones, too."""
        return np.maximum.accumulate(np.stack(self.confirmed)[::-1], axis=0)[::-1]

    def grows_without_bound(self) -> NDArray[np.bool_]:
        """Where the jump grows without end as the steps shrink: a cusp."""
        return grows_without_end(self.seen, self.thresholds, power=self.power)

    def with_noise_times(self, noise_factor: Array) -> SlopeJumps:
        """The same where noise is louder than thought."""
        jumps = SlopeJumps(power=self.power)
        for step, second_difference, noise in zip(
            self.steps, self.second_differences, self.noises, strict=True
        ):
            jumps.add(step, second_difference, noise_factor * noise)
        return jumps

    def take(self, kept: NDArray[np.bool_]) -> SlopeJumps:
        return SlopeJumps(
            power=self.power,
            **{
                name: [a[kept] for a in getattr(self, name)]
                for name in ("steps", "second_differences", "noises", "seen", "thresholds", "confirmed")
            },
        )


def grows_without_end(sizes: list[Array], thresholds: list[Array], *, power: int) -> NDArray[np.bool_]:
    """Where sizes that stand clear of the noise grow by the same factor from rung to rung, up to the smallest step that could tell.

    By the same one: |x|^p / h grows regularly, while noise that is louder than thought grows by leaps. Beside a kink the growth
    ends at a step that is shorter than the way to it. Of the second derivative, `power` 2, a jump of f grows sixteenfold.
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
    """Where the slopes move ever further as the steps shrink, beyond what noise explains: a vertical tangent or a jump.

    `steps` are to the `power`.
    """
    changes = [np.nan_to_num(np.abs(b - a)) for a, b in itertools.pairwise(slopes)]
    if not changes:
        return np.zeros(slopes[0].shape, dtype=bool)
    return grows_without_end(changes, [10 * noise / h[:, None] for h in steps[1:]], power=power)
