"""An estimate of the gradient's error along one direction, its error bar, and how two lengths of step are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from .differences import DifferencePair
from .directions import Direction

FLAG = 4.0
"""An error of so many bars is flagged; it becomes an accusation when `confirm` finds no other explanation."""
DEVIATIONS = 2.0
"""Standard deviations of the noise in a bar."""
RATIO = 4.0
"""Of the two lengths of step that are extrapolated."""
STEP_GROWTH = 64.0
"""How many times longer the next step is at most."""
LONGEST_STEP = 4.0
"""Relative to the size of each tensor. Longer steps reach where f saturates, and two of them may agree on a slope that is not that of the point."""


@dataclass(frozen=True, kw_only=True)
class ErrorEstimate:
    """The gradient's error along one direction, in units of F for a step of 1."""

    kind: str
    error: float
    """Numerical minus analytic."""
    bar: float
    """Half-width of the error bar, in about two standard deviations."""
    slope: float
    """The analytic derivative."""
    step: float
    """The longer of the two steps."""
    kink: float
    """The limit of the even residual as the step goes to 0."""
    truncation: float
    """The coefficient c of h^2 in the residual slope ``e + c h^2``."""
    noise_bar: float
    """The part of the bar that is noise of F."""
    flat: bool
    """F did not change at any length of step."""
    flat_pair: bool = False
    """F did not change at the two steps of this estimate."""
    kink_noise: float = 0.0
    """Standard deviation of `kink` from noise alone."""
    at_kink: bool = False
    """Two lengths of step show the same kink: it lies exactly at the point. For a smooth function it would shrink with the step."""
    steps_disagree: bool = False
    """Another length of step gives an error that differs by more than both bars: F may be quantised."""

    @property
    def flagged(self) -> bool:
        return abs(self.error) > FLAG * self.bar

    @property
    def significance(self) -> float:
        """The error in bars."""
        return abs(self.error) / self.bar if self.bar > 0 else inf * abs(self.error) if self.error else 0.0

    @property
    def numerical(self) -> float:
        """The numerical derivative."""
        return self.slope + self.error

    @property
    def clear_kink(self) -> float:
        """The kink beyond what noise alone explains."""
        return max(self.kink**2 - self.kink_noise**2, 0.0) ** 0.5

    def times(self, factor: float) -> ErrorEstimate:
        """The same estimate for a direction that is `factor` times as long."""
        if factor == 1:
            return self
        sizes = ("error", "bar", "slope", "kink", "noise_bar", "kink_noise")
        scaled = {name: factor * getattr(self, name) for name in sizes}
        return replace(self, **scaled, truncation=factor**3 * self.truncation, step=self.step / factor)

    def widened(self, kink: float) -> ErrorEstimate:
        """With a bar that also covers the kinks met along other directions: they have the same size, and one direction may miss them by chance."""
        return replace(self, bar=self.bar + DEVIATIONS * max(kink - self.clear_kink, 0.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class ShortStepEstimate:
    """The gradient's error along steps that are as short as rounding permits."""

    direction: Direction
    error: float
    step: float
    sharpness: float
    """Standard deviation of `error` divided by that of the noise of F."""

    @classmethod
    def of(cls, direction: Direction, residuals: Sequence[tuple[float, float]]) -> ShortStepEstimate | None:
        """From pairs (step, residual): the slope at 0 of a parabola through them. None where F is not finite at one of the steps."""
        t, u = np.array(residuals).T
        if not np.isfinite(u).all():
            return None
        unit = float(t.max())
        fit = np.linalg.pinv(np.stack([t / unit, (t / unit) ** 2], axis=1))[0] / unit
        return cls(direction=direction, error=float(fit @ u), step=unit, sharpness=float(np.linalg.norm(fit)))

    def bar(self, noise: float) -> float:
        return DEVIATIONS * self.sharpness * noise

    def disagrees_with(self, error: float, bar: float, *, noise: float) -> bool:
        """Whether an error that was measured along longer steps, with this bar, is another one."""
        return abs(error - self.error) > FLAG * (bar + self.bar(noise))


@dataclass(frozen=True, kw_only=True)
class Adjustment:
    """What was found out about F that later estimates must take into account; `ErrorEstimator.apply` does so."""

    matters: bool = False
    """Whether estimates that were made before are to be made again."""
    noise: float = 0.0
    """The noise of F is at least this."""
    step_limit: float | None = None
    """F oscillates, and steps must not be longer; None where it was not seen to."""
    searched_spacings: frozenset[float] = frozenset()
    """Spacings at which undeclared rounding has now been looked for."""


def no_estimate(direction: Direction, step: float) -> ErrorEstimate:
    """F cannot be evaluated along the direction: nothing is known."""
    return ErrorEstimate(
        kind=direction.kind,
        error=0.0,
        bar=inf,
        slope=0.0,
        step=step,
        kink=0.0,
        truncation=0.0,
        noise_bar=0.0,
        flat=False,
    )


def extrapolated(longer: DifferencePair, shorter: DifferencePair) -> float:
    """``e`` of ``r(h) = e + c h^2``, from two steps."""
    a, b = longer.step**2, shorter.step**2
    return (a * shorter.residual_slope - b * longer.residual_slope) / (a - b)


def agree(longer: DifferencePair, shorter: DifferencePair, *, clear: float) -> bool:
    """Whether both show an error beyond `clear`, and the same one within a factor of 2."""
    small, large = sorted((abs(longer.residual_slope), abs(shorter.residual_slope)))
    same_sign = longer.residual_slope * shorter.residual_slope > 0
    return same_sign and clear < small and large < 2 * small


def next_step(too_short: float, too_long: float, *, shortest: float, longest: float) -> float | None:
    """The next step to try, or None when the search has closed in or run out of range."""
    if too_long == inf:
        step = min(too_short * STEP_GROWTH, longest)
        if step < 2 * too_short:
            return None
    elif too_short == 0.0:
        step = too_long / RATIO**2
    elif too_long / too_short <= RATIO:
        return None
    else:
        step = (too_short * too_long) ** 0.5
    return step if shortest <= step <= longest else None


def at_kink(estimates: Sequence[ErrorEstimate]) -> bool:
    """Whether two lengths of step show the same kink, or a jump, whose slope grows as the step shrinks."""
    clear = sorted((e for e in estimates if abs(e.kink) > 6 * e.noise_bar), key=lambda e: e.step)[:2]
    if len(clear) == 2 and clear[0].kink * clear[1].kink > 0 and abs(clear[0].kink / clear[1].kink) > 0.5:
        return True
    shortest = sorted(estimates, key=lambda e: e.step)[:2]
    return len(shortest) == 2 and _is_jump(*shortest)


def _is_jump(shorter: ErrorEstimate, longer: ErrorEstimate) -> bool:
    """Whether F+ - F- stays the same while the step shrinks."""
    if any(abs(e.error) <= 6 * e.noise_bar for e in (shorter, longer)):
        return False
    growth = shorter.error / longer.error
    return 0.5 < growth / (longer.step / shorter.step) < 2
