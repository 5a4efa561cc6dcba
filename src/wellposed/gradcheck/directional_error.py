"""One directional derivative against the analytic one, with an error bar that a wrong gradient cannot bias.

With F at x+ and x- and the step really taken, ``r(h) = (F+ - F- - <g, x+ - x->) / 2h = e + c h^2``: e is the error of the gradient along the
direction. ``s(h) = (F+ + F- - 2 F0) / 2h = a h`` holds kinks and rounding but no gradient error: what is left of it after a h is
taken out widens the bar.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from itertools import pairwise
from math import inf, nan

import numpy as np

from ..differentiate.noise import POINTS, noise_along
from ..errors import WellposedError
from .directions import Direction, jittered, random_direction, signs_of
from .error_estimate import (
    DEVIATIONS,
    FLAG,
    LONGEST_STEP,
    RATIO,
    Look,
    Reading,
    Rung,
    at_kink,
    between,
    limit,
    nothing,
)
from .gradient_rounding import LOW_PRECISION, gradient_noise
from .objective import Objective
from .result import OutputsChangedError

MOST_PAIRS = 4
HUGE = 1e150
"""Differences above this are none that can be squared."""
LONGEST_FIRST_STEP = 0.1
SHORTEST_STEP = 1e-12
TINY = 4096
"""Roundings between the values that tell the noise."""
MANY_ROUNDINGS, FEW_ROUNDINGS = 64.0, 8.0
"""A step shorter than so many roundings of a typical element leaves too many elements where they are; half precision cannot afford more."""
UNROUNDED = 0.1
"""Part of the declared rounding of the outputs below which they are seen to be exact."""
EXACT_STEPS = (0.4, 0.3, 0.2, 0.15, 0.1, 0.07)
HALF = 1e-5
"""A unit roundoff above this is that of float16 or bfloat16."""
SUSPICIOUS = 100.0
"""Roundings of F in one value above which noise may be something else."""
ROUNDINGS_OF_ZERO = 100.0
"""Roundings of the largest gradient within which another one is zero."""
SLOPES, FORWARD_STEP = 4, 1e-2
"""Directions and length of step by which the size of a forward-mode derivative is told."""


class Prober:
    """Takes readings around one point; holds what they share: F there, its noise, and a first step."""

    def __init__(self, objective: Objective, *, seed: int) -> None:
        self.objective, self.seed = objective, seed
        self.changed = ""
        """How the outputs of f change with the values of its inputs, where they were seen to do so."""
        self._made = 0
        count = len(objective.shapes)
        self.everything = tuple(range(count))
        self.scales = _tensor_scales(objective)
        self.boosts: Mapping[int, float] = {}
        """How many times further than the others a tensor is moved, so that one with a small gradient shows beside them."""
        self.norms = tuple(self._norm(i) for i in self.everything)
        self.shares = tuple(s * n for s, n in zip(self.scales, self.norms, strict=True))
        self.centre = objective.at(None, 0.0).value
        self.wander = self._wander()
        self.size = max(abs(self.centre), float(np.linalg.norm(self.shares)), 1e-300)
        """What F bends by, over a move by 1 of all that moves."""
        self.look: Look | None = None
        """What the moves of the table that tells the noise say of the error, along steps far shorter than those of readings."""
        self.limit = LONGEST_STEP
        """The longest step: shorter where F has waves shorter than its arguments are large."""
        self.has_waves = False
        """Whether it had for any group of tensors."""
        self.noise = max(self._noise_at_rest(), self.wander)
        self.gradient_noise = gradient_noise(objective, self.norms, lambda: self.fresh(self.everything))
        self.good_step: float | None = None
        """A length of step that gave a reading as sharp as was wanted: the next direction tries it first."""
        self.searched: set[float] = set()
        """Spacings at which rounding inside F was looked for."""

    @property
    def first_step(self) -> float:
        """Where noise and truncation balance when F bends on the scale of its arguments: the cube root of the relative noise."""
        furthest = max(self.boosts.values(), default=1.0)
        balance = max(self.noise / (self.size * furthest**2), 1e-18) ** (1 / 3)
        shortest = max(1e-7 / furthest, RATIO * self.shortest_step)
        step = float(np.clip(balance, shortest, max(shortest, LONGEST_FIRST_STEP / furthest)))
        return min(step, self.longest_step / RATIO)

    @property
    def longest_step(self) -> float:
        return self.limit / max(self.boosts.values(), default=1.0)

    @property
    def shortest_step(self) -> float:
        roundoff = self.objective.roundoff
        return max(SHORTEST_STEP, (FEW_ROUNDINGS if roundoff > HALF else MANY_ROUNDINGS) * roundoff)

    @property
    def finest_step(self) -> float:
        """Shorter than steps between which anything is read: so many roundings alone."""
        return MANY_ROUNDINGS * self.objective.roundoff

    @property
    def reference(self) -> float:
        """The largest share of any tensor: what a gradient of zero is small against."""
        return max(self.shares) or abs(self.centre) or 1.0

    def is_zero(self, tensor: int) -> bool:
        """Nothing but rounding is left of the claimed gradient, as of a bias in front of a BatchNorm."""
        if self.norms[tensor] == 0:
            return True
        if self.shares[tensor] > ROUNDINGS_OF_ZERO * self.objective.roundoff * self.reference:
            return False
        # Coarse arithmetic leaves more of it than small gradients are large: the rounding of this very gradient decides.
        fine = self.objective.roundoff < LOW_PRECISION
        return fine or self.norms[tensor] <= FLAG * self.gradient_noise[tensor]

    def _norm(self, tensor: int) -> float:
        """Of the claimed gradient; where only its derivatives along directions are claimed, as these tell it."""
        if self.objective.claims_gradient:
            return float(np.linalg.norm(self.objective.gradient(tensor)))
        directions = [self.fresh((tensor,)) for _ in range(SLOPES)]
        slopes = [self.objective.at(d, FORWARD_STEP).taken / FORWARD_STEP for d in directions]
        return float(np.sqrt(np.mean(np.square(slopes)))) / self.scales[tensor]

    @contextmanager
    def boosting(self, boosts: Mapping[int, float]) -> Iterator[None]:
        """Directions of these tensors alone: each moves so many times further, with steps that suit them together; {} changes nothing."""
        before = self.boosts, self.good_step, self.size, self.look, self.limit
        if boosts:
            self.boosts, self.good_step, self.limit = boosts, None, LONGEST_STEP
            self.look = self._looked(self.fresh(tuple(boosts))) if self.has_waves else None
            self.size = float(np.linalg.norm([self.reach(i) for i in boosts])) or self.size
        try:
            yield
        finally:
            if boosts:
                self.boosts, self.good_step, self.size, self.look, self.limit = before

    def reach(self, tensor: int) -> float:
        """The slope that the claimed gradient makes of a move of the tensor."""
        return self.boosts.get(tensor, 1.0) * self.shares[tensor]

    def _lengths(self) -> list[float]:
        return [self.boosts.get(i, 1.0) * self.scales[i] for i in self.everything]

    def whole(self) -> Direction:
        """A random direction of all tensors, none boosted."""
        self._made += 1
        key = (self.seed, self._made)
        return random_direction(self.everything, self.objective.shapes, self.scales, key)

    def fresh(self, tensors: Sequence[int]) -> Direction:
        """A random direction that was never taken before."""
        self._made += 1
        return random_direction(tensors, self.objective.shapes, self._lengths(), (self.seed, self._made))

    def varied(self, direction: Direction) -> Direction:
        """The same signs with fresh magnitudes."""
        self._made += 1
        return jittered(direction, self.objective.shapes, (self.seed, self._made))

    def signs_of_gradient(self, tensors: Sequence[int]) -> Direction | None:
        moving = [i for i in tensors if self.norms[i] > 0]
        return signs_of("gradient", self.objective.gradient, moving, self._lengths()) if moving else None

    def signs_of_parameters(self, tensors: Sequence[int]) -> Direction | None:
        moving = [i for i in tensors if np.any(self.objective.point(i))]
        return signs_of("parameter", self.objective.point, moving, self._lengths()) if moving else None

    def _wander(self) -> float:
        """How far repeated evaluations at one point lie apart; 0 for a deterministic function."""
        again = self.objective.at(None, 0.0).value
        if again == self.centre:
            return 0.0
        values = [self.centre, again] + [self.objective.at(None, 0.0).value for _ in range(4)]
        return float(np.std(values, ddof=1))

    def _noise_at_rest(self) -> float:
        direction = self.fresh(self.everything)
        roundoff = self.objective.roundoff
        spacing = TINY * roundoff if roundoff < LOW_PRECISION else 8 * roundoff
        unexplained: dict[float, float] = {}

        def value(t: float) -> float:
            found, unexplained[t] = self._apart(direction, t)
            return found

        sigma, _ = noise_along(
            value,
            spacing=spacing,
            widest=max(1e-5, 64 * roundoff),
            first=self.centre,
        )
        if roundoff < LOW_PRECISION:
            self.look = Look.of(direction, list(unexplained.items())[1 - POINTS :])
        least = 2.0**-53 * abs(self.centre)
        floor = max(self.objective.floor(), least)
        if roundoff > HALF and (seen := self._rounding_seen()) < UNROUNDED * floor:
            return max(seen, sigma, least)
        if sigma > SUSPICIOUS * max(floor, roundoff * abs(self.centre)):
            # A jump of F looks like noise along a few points, and like nothing in the median.
            sigma = min(sigma, self.noise_at(direction, spacing))
        return max(sigma, floor)

    def _apart(self, direction: Direction, step: float) -> tuple[float, float]:
        """F at a moved point, and what the claimed gradient leaves unexplained of its change; not numbers where it cannot be evaluated."""
        try:
            moved = self.objective.at(direction, step)
        except WellposedError as error:
            self._note(error)
            return nan, nan
        return moved.value, moved.value - self.centre - moved.taken

    def _note(self, error: WellposedError) -> None:
        if isinstance(error, OutputsChangedError):
            self.changed = str(error)

    def unexplained(self, direction: Direction, step: float) -> float:
        return self._apart(direction, step)[1]

    def _looked(self, direction: Direction) -> Look | None:
        furthest = max(self.boosts.values(), default=1.0)
        spacing = max(TINY / furthest, MANY_ROUNDINGS) * self.objective.roundoff
        steps = [k * spacing for k in range(1, POINTS)]
        return Look.of(direction, [(t, self.unexplained(direction, t)) for t in steps])

    def noise_at(self, direction: Direction, spacing: float) -> float:
        """The noise in steps of `spacing`: the median fourth difference, which the trend and a kink or two do not reach."""
        # Not at the point itself, where F may have a value of its own, as where it compares with ==.
        values = np.array([self.value(direction, spacing * k) for k in range(1, 12)])
        if not np.isfinite(values).all():  # outside of where F is defined: it tells nothing
            return 0.0
        return float(np.median(np.abs(np.diff(values, 4)))) / (0.6745 * 70**0.5)

    def _rounding_seen(self) -> float:
        """The noise in ``F+ + F- - 2 F0``, which holds no gradient error and nothing at all of a linear F: three times its standard deviation.

        Outputs that are copies or exact sums are not rounded, whatever their type.
        """
        direction = self.fresh(self.everything)
        rungs = [self.rung(direction, step) for step in EXACT_STEPS]
        if not all(rungs) or any(r.flat for r in rungs if r):
            return inf
        return 3 * float(np.sqrt(np.mean([(2 * r.step * r.even) ** 2 for r in rungs if r]) / 6))

    def at_other(self, objective: Objective) -> Prober:
        """The same prober for another objective that is as noisy and has tensors of the same size: another point, another gradient."""
        other = copy(self)
        other.searched = set(self.searched)
        other.objective = objective
        other.centre = objective.at(None, 0.0).value
        return other

    def rounding_along(self, tensors: Sequence[int]) -> float:
        """What the rounding of the claimed gradient does to its derivative along a direction: standard deviation."""
        return float(np.linalg.norm([self.gradient_noise[i] * self._lengths()[i] for i in tensors]))

    def value(self, direction: Direction, step: float) -> float:
        return self._apart(direction, step)[0]

    def read(self, direction: Direction, *, wanted: float, start: float | None = None) -> Reading:
        """The error along a direction; pairs of steps are tried until the bar is below `wanted`.

        A pair whose bar is noise asks for longer steps, one whose bar is truncation or kinks for shorter ones.
        """
        start = start or self.good_step or self.first_step
        lengths = (RATIO, 1.0, 1 / RATIO) if self.good_step is None else (1.0, 1 / RATIO)
        rungs = [self.rung(direction, start * f) for f in lengths]
        found = [self._fit(a, b, direction) for a, b in pairwise(rungs) if a and b]
        too_short, too_long = 0.0, inf
        if not found:
            too_long = start / RATIO
        for _ in range(MOST_PAIRS):
            best = min(found, key=lambda r: r.bar, default=None)
            if best is not None and best.bar <= wanted:
                self.good_step = best.step
                break
            for reading in found:
                if reading.noise_bar > 0.5 * reading.bar:
                    too_short = max(too_short, reading.step)
                else:
                    too_long = min(too_long, reading.step)
            step = between(
                too_short, too_long, shortest=RATIO * self.shortest_step, longest=self.longest_step
            )
            if step is None:
                break
            pair = [self.rung(direction, step), self.rung(direction, step / RATIO)]
            if pair[0] and pair[1]:
                found.append(self._fit(pair[0], pair[1], direction))
            else:
                too_long = min(too_long, step)
        best = min(found, key=lambda r: r.bar, default=None)
        if best is None:
            return nothing(direction, start)
        rounding = DEVIATIONS * self.rounding_along(direction.tensors)
        return replace(
            best,
            bar=max(best.bar, self._disagreement(best, found)) + rounding,
            flat=all(r.flat for r in found),
            at_kink=at_kink(found),
            torn=any(abs(r.error - best.error) > FLAG * (r.bar + best.bar) for r in found),
        )

    def _disagreement(self, best: Reading, found: Sequence[Reading]) -> float:
        """The bar that makes readings at other lengths agree with the best: a wrong gradient is as wrong at each, a staircase is not.

        Only of coarse arithmetic, where the steps are as long as the stairs; elsewhere what longer steps see is how F bends.
        """
        if self.objective.roundoff < LOW_PRECISION:
            return 0.0
        near = [r for r in found if best.step / RATIO**2 <= r.step <= best.step * RATIO**2]
        return max(abs(r.error - best.error) / FLAG - r.bar for r in near)

    def read_pair(self, direction: Direction, step: float) -> Reading:
        """The error along a direction from two given steps: four evaluations."""
        longer, shorter = self.rung(direction, step), self.rung(direction, step / RATIO)
        if longer is None or shorter is None:
            return nothing(direction, step)
        found = self._fit(longer, shorter, direction)
        return replace(found, bar=found.bar + DEVIATIONS * self.rounding_along(direction.tensors))

    def read_once(self, direction: Direction, step: float, bend: float) -> Reading:
        """The error along a direction from one step, where `bend` bounds what the step leaves of h^2: two evaluations."""
        rung = self.rung(direction, step)
        if rung is None:
            return nothing(direction, step)
        noise_bar = DEVIATIONS * self.noise / (2**0.5 * step)
        return Reading(
            kind=direction.kind,
            error=rung.odd,
            bar=noise_bar + abs(bend) * step**2 + DEVIATIONS * self.rounding_along(direction.tensors),
            slope=rung.slope,
            step=step,
            kink=0.0,
            bend=bend,
            noise_bar=noise_bar,
            flat=rung.flat,
        )

    def _fit(self, longer: Rung, shorter: Rung, direction: Direction) -> Reading:
        error = limit(longer, shorter)
        bend = (longer.odd - shorter.odd) / (longer.step**2 - shorter.step**2)
        kink = (longer.step * shorter.even - shorter.step * longer.even) / (longer.step - shorter.step)
        # The fit weighs the shorter step with 16/15, whose difference of two noisy values stands over 2 h.
        noise_bar = DEVIATIONS * 0.76 * self.noise / shorter.step
        reading = Reading(
            kind=direction.kind,
            error=error,
            bar=noise_bar + 0.1 * abs(bend) * longer.step**2,
            slope=shorter.slope,
            step=longer.step,
            kink=kink,
            bend=bend,
            noise_bar=noise_bar,
            # That of F+ + F- - 2 F0 over 2 h, the shorter step with 4/3.
            kink_noise=1.7 * self.noise / shorter.step,
            flat=longer.flat and shorter.flat,
            still=longer.flat and shorter.flat,
        )
        # Kinks show in the even part as much as in the odd one, each with a sign of its own.
        return replace(reading, bar=reading.bar + DEVIATIONS * reading.clear_kink)

    def rung(self, direction: Direction, step: float) -> Rung | None:
        try:
            above, below = self.objective.at(direction, step), self.objective.at(direction, -step)
        except (
            WellposedError
        ) as error:  # outside of where F is defined: it was evaluated at the point itself without
            self._note(error)
            return None
        if not all(abs(v) < HUGE * step for v in (above.value, below.value, above.taken, below.taken)):
            return None
        taken = above.taken - below.taken
        return Rung(
            step=step,
            odd=(above.value - below.value - taken) / (2 * step),
            even=(above.value + below.value - 2 * self.centre - above.taken - below.taken) / (2 * step),
            slope=taken / (2 * step),
            flat=above.value == below.value == self.centre,
        )


def _tensor_scales(objective: Objective) -> tuple[float, ...]:
    """The size of a typical element of each tensor, its rms; a tensor of zeros gets the median of the others, or 1."""
    points = (objective.point(i) for i in range(len(objective.shapes)))
    rms = [float(np.linalg.norm(p)) / p.size**0.5 for p in points]
    known = [r for r in rms if r > 0]
    fallback = float(np.median(known)) if known else 1.0
    return tuple(r or fallback for r in rms)
