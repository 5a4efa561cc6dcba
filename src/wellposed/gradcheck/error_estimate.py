"""One reading of the gradient's error along one direction, and what two lengths of step make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from .directions import Direction

FLAG = 4.0
"""Bars between an estimate and zero before it is suspected; it is an accusation when `doubts` finds nothing against it."""
DEVIATIONS = 2.0
"""Standard deviations of the noise in a bar."""
RATIO = 4.0
JUMP = 64.0
LONGEST_STEP = 4.0
"""Relative to the size of each tensor. Longer ones cross into where f saturates, and two of them agree on a slope that is not that of the point."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The gradient's error along one direction, in units of F for a step of 1."""

    kind: str
    error: float
    """Numerical minus analytic."""
    bar: float
    slope: float
    """The analytic derivative."""
    step: float
    kink: float
    """What s(h) keeps as h goes to 0."""
    bend: float
    """The coefficient of h^2 in r(h)."""
    noise_bar: float
    flat: bool
    """F did not change at any length of step."""
    still: bool = False
    """It did not at the two steps that this one comes from."""
    kink_noise: float = 0.0
    """Standard deviation of `kink` from noise alone."""
    at_kink: bool = False
    """Two lengths of step see the same kink: it lies exactly at the point. Of a smooth function it would shrink."""
    torn: bool = False
    """Another length of step sees an error that lies further from this one than both bars allow: F may be a staircase."""

    @property
    def flagged(self) -> bool:
        return abs(self.error) > FLAG * self.bar

    @property
    def significance(self) -> float:
        """The error in bars."""
        return abs(self.error) / self.bar if self.bar > 0 else inf * abs(self.error) if self.error else 0.0

    @property
    def numerical(self) -> float:
        return self.slope + self.error

    @property
    def clear_kink(self) -> float:
        """The kink beyond what noise alone makes of it."""
        return max(self.kink**2 - self.kink_noise**2, 0.0) ** 0.5

    def times(self, factor: float) -> Reading:
        """What it says of moves so many times as long."""
        if factor == 1:
            return self
        sizes = ("error", "bar", "slope", "kink", "noise_bar", "kink_noise")
        scaled = {name: factor * getattr(self, name) for name in sizes}
        return replace(self, **scaled, bend=factor**3 * self.bend, step=self.step / factor)

    def widened(self, kink: float) -> Reading:
        """With the kinks that the other directions saw: they have the same scale, and one may miss them by chance."""
        return replace(self, bar=self.bar + DEVIATIONS * max(kink - self.clear_kink, 0.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """The gradient's error along steps that are as short as rounding permits."""

    direction: Direction
    error: float
    step: float
    sharpness: float
    """Standard deviation of `error` over that of F's noise."""

    @classmethod
    def of(cls, direction: Direction, unexplained: Sequence[tuple[float, float]]) -> Look | None:
        """The slope at 0 of what the gradient leaves unexplained, by step; None where F is not finite at one of them."""
        t, u = np.array(unexplained).T
        if not np.isfinite(u).all():
            return None
        unit = float(t.max())
        fit = np.linalg.pinv(np.stack([t / unit, (t / unit) ** 2], axis=1))[0] / unit
        return cls(direction=direction, error=float(fit @ u), step=unit, sharpness=float(np.linalg.norm(fit)))

    def bar(self, noise: float) -> float:
        return DEVIATIONS * self.sharpness * noise

    def denies(self, error: float, bar: float, *, noise: float) -> bool:
        """Whether an error along longer steps, with this bar, is another one."""
        return abs(error - self.error) > FLAG * (bar + self.bar(noise))


@dataclass(frozen=True)
class Rung:
    step: float
    odd: float
    even: float
    slope: float
    flat: bool


def nothing(direction: Direction, step: float) -> Reading:
    return Reading(
        kind=direction.kind,
        error=0.0,
        bar=inf,
        slope=0.0,
        step=step,
        kink=0.0,
        bend=0.0,
        noise_bar=0.0,
        flat=False,
    )


def limit(longer: Rung, shorter: Rung) -> float:
    """``e`` of ``r(h) = e + c h^2`` through two steps."""
    a, b = longer.step**2, shorter.step**2
    return (a * shorter.odd - b * longer.odd) / (a - b)


def alike(longer: Rung, shorter: Rung, *, clear: float) -> bool:
    """Whether both see an error beyond `clear`, and the same within a factor of 2."""
    small, large = sorted((abs(longer.odd), abs(shorter.odd)))
    return longer.odd * shorter.odd > 0 and clear < small and large < 2 * small


def between(too_short: float, too_long: float, *, shortest: float, longest: float) -> float | None:
    """The next step to try, or None when the search has closed in or run out of range."""
    if too_long == inf:
        step = min(too_short * JUMP, longest)
        if step < 2 * too_short:
            return None
    elif too_short == 0.0:
        step = too_long / RATIO**2
    elif too_long / too_short <= RATIO:
        return None
    else:
        step = (too_short * too_long) ** 0.5
    return step if shortest <= step <= longest else None


def at_kink(found: Sequence[Reading]) -> bool:
    """Whether two lengths of step see the same kink, or a jump, which grows as the step shrinks."""
    clear = sorted((r for r in found if abs(r.kink) > 6 * r.noise_bar), key=lambda r: r.step)[:2]
    if len(clear) == 2 and clear[0].kink * clear[1].kink > 0 and abs(clear[0].kink / clear[1].kink) > 0.5:
        return True
    shortest = sorted(found, key=lambda r: r.step)[:2]
    return len(shortest) == 2 and _jumps(*shortest)


def _jumps(shorter: Reading, longer: Reading) -> bool:
    """Whether F+ - F- stays the same while the step shrinks."""
    if any(abs(r.error) <= 6 * r.noise_bar for r in (shorter, longer)):
        return False
    growth = shorter.error / longer.error
    return 0.5 < growth / (longer.step / shorter.step) < 2
