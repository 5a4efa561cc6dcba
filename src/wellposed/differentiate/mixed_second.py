"""Second derivatives by pairs of elements of x, from divided differences over a ladder of steps in both of them at once.

For one element alone: f at x and at two steps. For two: f at the four corners of a rectangle. A step is one number for both elements,
in units of each one's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .function import MOST_NUMBERS, TRIED, Function
from .lines import ElementLines, Indices
from .richardson import JUMP_SHARE, Tableau
from .step_ladder import (
    FULL,
    Derivatives,
    Ladder,
    Rung,
    derived,
    descend,
    has_no_end,
    read_smooth,
    rounding_beside,
)

Array = NDArray[np.float64]

CORNERS = ((0, 0, 1.0), (0, 1, -1.0), (1, 0, -1.0), (1, 1, 1.0))
"""Which end of each side of the rectangle, and the sign of f there."""
ALONE_SPREAD = 6**0.5
"""Standard deviation of f(x + h) - 2 f(x) + f(x - h), where that of the noise of f is 1."""
CROSSED_SPREAD = 2.0
"""The same of the sum over four corners."""
BEND_SPREAD = (160 / 6) ** 0.5
"""The same of the difference of the second differences to both sides, over half a step each, in units of the one above."""
JUMP_DOUBT = 40.0
"""Standard deviations of the noise of f below which mixed differences to several sides count as the same."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Noise:
    """Standard deviation of the noise in f, by the share of its scale by which x has moved."""

    shares: Array
    """Ascending."""
    levels: Array
    """Up to each share."""
    of_stairs: bool
    """Whether f computes in few digits somewhere inside."""

    def up_to(self, share: Array) -> Array:
        return self.levels[np.minimum(np.searchsorted(self.shares, share), len(self.shares) - 1)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Pairs (i, j) of elements of x, i = j in all of them or in none, that leave x to the same sides."""

    elements: ElementLines
    i: Indices
    j: Indices
    units: Array
    """Of the steps in each element of x, shape (size of x,)."""
    sides: tuple[int, int]
    """Of i and of j: 0 for steps to both sides, +1 and -1 for steps to that one."""
    noise: Noise

    @property
    def alone(self) -> bool:
        return bool((self.i == self.j).all())

    def climb(
        self,
        function: Function,
        some: Indices,
        *,
        first: Array,
        noise: Array | None = None,
        ladder: Ladder = FULL,
    ) -> Derivatives:
        """Of `some` of the pairs, from these first steps; in units of f over those of both elements."""
        pairs = Pairs(
            elements=self.elements,
            i=self.i[some],
            j=self.j[some],
            units=self.units,
            sides=self.sides,
            noise=self.noise,
        )
        two_sided = 2.0 ** -sum(side == 0 for side in self.sides)  # a rectangle's side is two steps long then
        tableau = Tableau(
            noise=np.full((len(some), 1), self.noise.levels[0]) if noise is None else noise,
            coarse=np.zeros((len(some), 1), dtype=bool),
            side=self.sides[0] or self.sides[1],
            power=2,
            bend_spread=BEND_SPREAD,
            spread=ALONE_SPREAD if self.alone else CROSSED_SPREAD * two_sided,
        )

        def rung(open_: Indices, steps: Array, so_far: Tableau) -> Rung:
            return pairs._rung(function, open_, steps, so_far.noise)

        def read(done: Indices, tableau: Tableau) -> Derivatives:
            endless = has_no_end(tableau)
            tableau, best = read_smooth(tableau)
            return derived(function, tableau, best, endless=endless)

        return descend(tableau, first=first, rung=rung, read=read, ladder=ladder)

    def consider_batches(self, function: Function) -> None:
        """Evaluate f at many points at once from now on, where that works and is faster."""
        if not function.vectorised:
            i, j = self.i[:TRIED], self.j[:TRIED]
            rows = np.repeat(self.elements.point.flat[None], len(i), axis=0)
            for k, side in zip((i, j), self.sides, strict=True):
                rows[np.arange(len(k)), k] += (side or 1) * self.elements.near(k, self.units[k])
            function.vectorise(rows, noise=self.noise.levels[-1:])

    def _rung(self, function: Function, open_: Indices, steps: Array, noise: Array) -> Rung:
        i, j = self.i[open_], self.j[open_]
        bend = np.zeros(len(i))
        with np.errstate(all="ignore"):
            if self.alone:
                slope, step, sizes = self._bent(function, i, steps)
                if self.sides[0] == 0:
                    bend = step * self.units[i] ** 2 * self._bend(function, i, steps)
            else:
                slope, step, sizes = self._crossed(function, i, j, steps)
            moved = np.maximum(*(steps * (self.units / self.elements.scales)[k] for k in (i, j)))
            noise = np.maximum(noise, self.noise.up_to(moved)[:, None])
            rounding = rounding_beside(function, sizes[:, None], noise)
        slope = (slope * self.units[i] * self.units[j])[:, None]
        missing = ~np.isfinite(slope)
        return Rung(
            step=step,
            slope=np.where(missing, np.nan, slope),
            bend=bend[:, None],
            noise=np.maximum(noise, np.where(missing, 0.0, rounding)),
        )

    def _bent(self, function: Function, i: Indices, steps: Array) -> tuple[Array, Array, Array]:
        """The second divided difference at x and two steps."""
        side, x = self.sides[0], self.elements.point.flat[i]
        h = self.elements.near(i, steps * self.units[i])
        rounded = self.elements.point.rounded
        near, far = (rounded(i, x + h * by) for by in ((-1.0, 1.0) if side == 0 else (side, 2.0 * side)))
        at_near, at_far = (self._values(function, [i], [place]) for place in (near, far))
        centre = function.centre[0]
        slopes = (at_far - centre) / (far - x) - (at_near - centre) / (near - x)
        return (
            2 * slopes / (far - near),
            np.abs(near - x) / self.units[i],
            np.maximum(np.abs(at_near), np.abs(at_far)),
        )

    def _bend(self, function: Function, i: Indices, steps: Array) -> Array:
        """The second divided difference to the right less that to the left, each over one step: what the second derivative jumps by."""
        x, h = self.elements.point.flat[i], self.elements.near(i, steps * self.units[i])
        centre, found = function.centre[0], []
        for sign in (1.0, -1.0):
            mid, far = (self.elements.point.rounded(i, x + sign * part * h) for part in (0.5, 1.0))
            at_mid, at_far = (self._values(function, [i], [place]) for place in (mid, far))
            slopes = (at_far - centre) / (far - x) - (at_mid - centre) / (mid - x)
            found.append(2 * slopes / (far - mid))
        return found[0] - found[1]

    def widen_kinks(self, function: Function, found: Derivatives, kinks: NDArray[np.bool_]) -> None:
        """Where both elements have a kink alone, the bar of their mixed derivative covers those of all four quadrants."""
        some = np.flatnonzero(kinks[self.i] & kinks[self.j] & found.found[:, 0])
        if not some.size or self.sides != (0, 0):
            return
        i, j, steps = self.i[some], self.j[some], found.step[some, 0]
        quadrants, sizes = [], []
        for right in (1, -1):
            for up in (1, -1):
                pairs = replace(self, i=i, j=j, sides=(right, up))
                slope, _, size = pairs._crossed(function, i, j, steps)
                quadrants.append(slope * self.units[i] * self.units[j])
                sizes.append(size)
        noise = np.maximum(found.noise[some, 0], function.rounding(np.max(sizes, axis=0)))
        with np.errstate(invalid="ignore"):
            jump = np.ptp(quadrants, axis=0)
            jumps = jump > JUMP_DOUBT * noise / steps**2
        found.error[some, 0] += np.where(jumps, JUMP_SHARE * jump, 0.0)
        found.kink[some, 0] |= jumps

    def _crossed(
        self, function: Function, i: Indices, j: Indices, steps: Array
    ) -> tuple[Array, Array, Array]:
        """The mixed divided difference over the corners of a rectangle."""
        ends, lengths, taken = [], [], []
        for k, side in zip((i, j), self.sides, strict=True):
            x, h = self.elements.point.flat[k], self.elements.near(k, steps * self.units[k])
            rounded = self.elements.point.rounded
            ends.append((rounded(k, x + h * (side or 1)), rounded(k, x - h) if side == 0 else x))
            lengths.append(ends[-1][0] - ends[-1][1])
            taken.append(np.abs(lengths[-1]) / (self.units[k] * (2 if side == 0 else 1)))
        total, sizes = np.zeros(len(i)), np.zeros(len(i))
        for a, b, sign in CORNERS:
            values = self._values(function, [i, j], [ends[0][a], ends[1][b]])
            total, sizes = total + sign * values, np.maximum(sizes, np.abs(values))
        return total / lengths[0] / lengths[1], np.sqrt(taken[0] * taken[1]), sizes

    def _values(self, function: Function, which: list[Indices], places: list[Array]) -> Array:
        """F where these elements of x are at these places, one point each."""
        flat = self.elements.point.flat
        chunk = max(1, MOST_NUMBERS // flat.size)
        found = []
        for start in range(0, len(places[0]), chunk):
            part = slice(start, start + chunk)
            rows = np.repeat(flat[None], len(places[0][part]), axis=0)
            for k, place in zip(which, places, strict=True):
                rows[np.arange(len(rows)), k[part]] = place[part]
            found.append(function.rows(rows)[:, 0])
        return np.concatenate(found)
