"""One directional derivative against the analytic one, with an error bar that a wrong gradient cannot bias.

With F at x+ and x- and the step really taken, ``r(h) = (F+ - F- - <g, x+ - x->) / 2h = e + c h^2``: e is the error of the gradient along the
direction. ``s(h) = (F+ + F- - 2 F0) / 2h = a h`` holds kinks and rounding but no gradient error: what is left of it after a h is
taken out widens the bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf, isfinite

import numpy as np

from ..differentiate.noise import noise_along
from .directions import Direction, random_signs, tensor_scales
from .objective import Array, Objective

FLAG = 6.0
"""Bars between an estimate and zero before it is an accusation."""
RATIO = 4.0
MOST_PAIRS = 4
JUMP = 64.0
LONGEST_STEP = 64.0
LONGEST_FIRST_STEP = 0.1
SHORTEST_STEP = 1e-12
HIDING = (1e-9, 1e-6)
"""Spacings at which a rounding of six or more digits shows."""


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
    noise_bar: float
    flat: bool
    at_kink: bool = False
    """Two lengths of step see the same kink: it lies exactly at the point. Of a smooth function it would shrink."""

    @property
    def flagged(self) -> bool:
        return abs(self.error) > FLAG * self.bar

    @property
    def numerical(self) -> float:
        return self.slope + self.error

    def widened(self, kink: float) -> Reading:
        """With the kinks that the other directions saw: they have the same scale, and one may miss them by chance."""
        return replace(self, bar=self.bar + max(kink - abs(self.kink), 0.0))


@dataclass(frozen=True)
class Rung:
    step: float
    odd: float
    even: float
    flat: bool


class Prober:
    """Takes readings around one point; holds what they share: F there, its noise, and a first step."""

    def __init__(
        self, objective: Objective, points: Sequence[Array], gradients: Sequence[Array], *, seed: int
    ) -> None:
        self.objective, self.points, self.gradients = objective, tuple(points), tuple(gradients)
        self.scales = tensor_scales(points)
        self.shares = tuple(s * float(np.linalg.norm(g)) for s, g in zip(self.scales, gradients, strict=True))
        self.rng = np.random.default_rng(seed)
        self.centre = objective.value(self.points)
        self.wander = self._wander()
        self.noise = max(self._noise_at_rest(), self.wander)
        self._searched = False

    @property
    def first_step(self) -> float:
        """Where noise and truncation balance when F bends on the scale of its arguments: the cube root of the relative noise."""
        size = max(abs(self.centre), float(np.linalg.norm(self.shares)), 1e-300)
        return float(np.clip(max(self.noise / size, 1e-18) ** (1 / 3), 1e-7, LONGEST_FIRST_STEP))

    @property
    def reference(self) -> float:
        """The largest share of any tensor: what a gradient of zero is small against."""
        return max(self.shares) or abs(self.centre) or 1.0

    @property
    def rounding(self) -> float:
        """The share that rounding alone leaves of a gradient that is zero, as of a bias in front of a BatchNorm."""
        return 100 * self.objective.roundoff * self.reference

    def _wander(self) -> float:
        """How far repeated evaluations at one point lie apart; 0 for a deterministic function."""
        again = self.objective.value(self.points)
        if again == self.centre:
            return 0.0
        values = [self.centre, again] + [self.objective.value(self.points) for _ in range(4)]
        return float(np.std(values, ddof=1))

    def _noise_at_rest(self) -> float:
        direction = random_signs(range(len(self.points)), self.points, self.scales, self.rng)
        sigma, _ = noise_along(
            lambda t: self.objective.value(self._moved(direction, t)),
            spacing=4096 * self.objective.roundoff
            if self.objective.roundoff < 1e-12
            else 8 * self.objective.roundoff,
            widest=max(1e-5, 64 * self.objective.roundoff),
            first=self.centre,
        )
        return max(sigma, self.objective.floor(), 2.0**-53 * abs(self.centre))

    def finds_hidden_noise(self) -> bool:
        """Look, once, for rounding coarser than the declared one, as of a cast inside F: no tiny step crosses it."""
        if self._searched:
            return False
        self._searched = True
        direction = random_signs(range(len(self.points)), self.points, self.scales, self.rng)
        hidden = max(self.noise_at(direction, spacing) for spacing in HIDING)
        found = hidden > 4 * self.noise
        self.noise = max(self.noise, hidden)
        return found

    def noise_at(self, direction: Direction, spacing: float) -> float:
        """The noise in steps of `spacing`: the median third difference, which the trend and a kink or two do not reach."""
        values = np.array([self.objective.value(self._moved(direction, spacing * k)) for k in range(-4, 5)])
        if not np.isfinite(values).all():
            return inf
        return float(np.median(np.abs(np.diff(values, 3)))) / (0.6745 * 20**0.5)

    def contradicts(self, direction: Direction, reading: Reading) -> bool:
        """Whether some longer step, precise enough to tell, sees no such error; a wrong gradient is wrong at every length."""
        for step in (1e-4, 1e-3, 1e-2):
            rungs = [self._rung(direction, step), self._rung(direction, step / RATIO)]
            if step > reading.step and rungs[0] and rungs[1]:
                longer = self._fit(rungs[0], rungs[1], direction, self.noise)
                if (
                    longer.bar < abs(reading.error) / 8
                    and abs(longer.error - reading.error) > abs(reading.error) / 2
                ):
                    return True
        return False

    def read(self, direction: Direction, *, wanted: float, start: float | None = None) -> Reading:
        """The error along a direction; pairs of steps are tried until the bar is below `wanted`.

        A pair whose bar is noise asks for longer steps, one whose bar is truncation or kinks for shorter ones.
        """
        noise = self.noise
        start = self.first_step if start is None else start
        rungs = [self._rung(direction, start * f) for f in (RATIO, 1.0, 1 / RATIO)]
        found = [self._fit(a, b, direction, noise) for a, b in pairwise(rungs) if a and b]
        too_short, too_long = 0.0, inf
        if not found:
            too_long = start / RATIO
        for _ in range(MOST_PAIRS):
            best = min(found, key=lambda r: r.bar, default=None)
            if best is not None and best.bar <= wanted:
                break
            for reading in found:
                if reading.noise_bar > 0.5 * reading.bar:
                    too_short = max(too_short, reading.step)
                else:
                    too_long = min(too_long, reading.step)
            step = _between(too_short, too_long)
            if step is None:
                break
            pair = [self._rung(direction, step), self._rung(direction, step / RATIO)]
            if pair[0] and pair[1]:
                found.append(self._fit(pair[0], pair[1], direction, noise))
            else:
                too_long = min(too_long, step)
        best = min(found, key=lambda r: r.bar, default=None)
        slope = direction.slope(self.gradients)
        if best is None:
            return Reading(
                kind=direction.kind,
                error=0.0,
                bar=inf,
                slope=slope,
                step=start,
                kink=0.0,
                noise_bar=0.0,
                flat=False,
            )
        return replace(best, slope=slope, flat=all(r.flat for r in found), at_kink=_at_kink(found))

    def read_at(self, direction: Direction, step: float) -> float:
        """The error along a direction from two steps, without a bar: four evaluations."""
        rungs = [r for r in (self._rung(direction, step), self._rung(direction, step / RATIO)) if r]
        return _limit(rungs[0], rungs[1]) if len(rungs) == 2 else (rungs[0].odd if rungs else 0.0)

    def _fit(self, longer: Rung, shorter: Rung, direction: Direction, noise: float) -> Reading:
        error = _limit(longer, shorter)
        bend = (longer.odd - shorter.odd) / (longer.step**2 - shorter.step**2)
        kink = (longer.step * shorter.even - shorter.step * longer.even) / (longer.step - shorter.step)
        noise_bar = 1.5 * noise / shorter.step
        bar = noise_bar + 0.1 * abs(bend) * longer.step**2 + abs(kink)
        return Reading(
            kind=direction.kind,
            error=error,
            bar=bar,
            slope=0.0,
            step=longer.step,
            kink=kink,
            noise_bar=noise_bar,
            flat=longer.flat and shorter.flat,
        )

    def _rung(self, direction: Direction, step: float) -> Rung | None:
        up, down = self._moved(direction, step), self._moved(direction, -step)
        above, below = self.objective.value(up), self.objective.value(down)
        if not (isfinite(above) and isfinite(below)):
            return None
        taken = lopsided = 0.0
        for i in direction.moves:
            taken += float(np.vdot(self.gradients[i], up[i] - down[i]))
            lopsided += float(
                np.vdot(self.gradients[i], (up[i] - self.points[i]) + (down[i] - self.points[i]))
            )
        return Rung(
            step=step,
            odd=(above - below - taken) / (2 * step),
            even=(above + below - 2 * self.centre - lopsided) / (2 * step),
            flat=above == below == self.centre,
        )

    def _moved(self, direction: Direction, step: float) -> list[Array]:
        moved = list(self.points)
        for i, move in direction.moves.items():
            moved[i] = self.objective.quantized(i, self.points[i] + step * move)
        return moved


def _limit(longer: Rung, shorter: Rung) -> float:
    """``e`` of ``r(h) = e + c h^2`` through two steps."""
    a, b = longer.step**2, shorter.step**2
    return (a * shorter.odd - b * longer.odd) / (a - b)


def _between(too_short: float, too_long: float) -> float | None:
    """The next step to try, or None when the search has closed in or run out of range."""
    if too_long == inf:
        step = too_short * JUMP
    elif too_short == 0.0:
        step = too_long / RATIO**2
    elif too_long / too_short <= RATIO:
        return None
    else:
        step = (too_short * too_long) ** 0.5
    return step if SHORTEST_STEP <= step <= LONGEST_STEP else None


def _at_kink(found: Sequence[Reading]) -> bool:
    clear = sorted((r for r in found if abs(r.kink) > FLAG * r.noise_bar), key=lambda r: r.step)[:2]
    if len(clear) < 2:
        return False
    shorter, longer = clear[0].kink, clear[1].kink
    return shorter * longer > 0 and 0.5 < abs(shorter / longer) < 2
