"""Public entry point: `hessian`, all second derivatives of one real number with their error bars.

A second derivative by one element uses f at x and at two steps, one by two elements f at the four corners of a rectangle; a step is one
number for both elements, in units of each one's own. A ladder of such steps is extrapolated as for first derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import callable_or_none
from ..errors import ArgumentError, WellposedError
from ._numerical_gradient import (
    TINIEST,
    Precision,
    bounded_lines,
    checked,
    function_at,
    gradient_function_at,
    in_units_of_f,
    scale_groups,
)
from .function import MOST_NUMBERS, POINTS_TIMED, Function
from .lines import DirectionLine, ElementLines, Indices
from .points import read_point
from .result import NumericalGradient
from .richardson import JUMP_SHARE, RATIO, Tableau
from .step_ladder import (
    FULL,
    SHORT,
    Derivatives,
    Ladder,
    StepPair,
    derived,
    descend,
    diverges,
    none_found,
    read_smooth,
    rounding_beside,
)
from .step_search import (
    FIRST_STEP,
    noise_along_lines,
    refuse_missing,
    refuse_too_little_room,
    repeat_spread,
    retry_with_larger_steps,
    search,
)

Array = NDArray[np.float64]

OFFSETS = (3e-5, 2e-3, FIRST_STEP)
"""Largest distances, relative to the scale of x, of further points at which the noise is measured: where terms cancel at x, their
rounding only shows beside it."""
FAR_SHARPER = 4.0
"""How many times smaller the bar of one of two values must be for it to be used alone."""
OWN_SCALE = 1e-3
"""An element below this part of the scale of its array has a scale of its own."""
PAIRS_AT_ONCE = 2**15
"""Pairs that are evaluated together."""


def hessian(
    f: Callable[[Any], Any] | None,
    x: Any,
    *,
    gradient: Callable[[Any], Any] | None = None,
    precision: Precision = "auto",
    bounds: Any = None,
) -> NumericalGradient:
    """The Hessian of f, by second differences of f or by differences of its gradient; symmetric to the bit.

    Parameters
    ----------
    f
        Takes `x` and returns one real number.
    x
        As in `numerical_gradient`; real.
    gradient
        Takes `x` and returns the gradient in the structure of `x`. Then `f` is not needed (pass None), and the gradient is evaluated about
        as often as f is for a gradient: sharper, and far cheaper.
    precision, bounds
        As in `numerical_gradient`.

    Returns
    -------
    NumericalGradient
        ``value``, ``error``, ``step`` and ``kink`` of the shape of `x` twice: ``(n, n)`` for n numbers. For a tree of arrays, trees in a tree,
        as ``jax.hessian`` has them: ``value["w"]["b"]`` has the shape of w, then that of b. ``step[i, j]`` is that in element i.
        Without `gradient` a few numbers take some hundreds of evaluations of f, and n of them about 10 n².

    Raises
    ------
    ArgumentError, UserCodeError
        As in `numerical_gradient`; and when `x` is complex, or neither `f` nor `gradient` is given.

    Examples
    --------
    >>> import numpy as np
    >>> from wellposed.differentiate import hessian
    >>> found = hessian(lambda w: w[0] ** 2 * w[1], np.array([1.0, 2.0]))
    >>> found.value.round(6).tolist()
    [[4.0, 2.0], [2.0, 0.0]]
    >>> bool(np.all(np.abs(found.value - [[4, 2], [2, 0]]) <= found.error))
    True
    """
    if gradient is None and f is None:
        raise ArgumentError("f is None and no gradient is given: expected one of them")
    callable_or_none(f, "f")
    callable_or_none(gradient, "gradient")
    checked(precision=precision)
    if any(leaf.is_complex for leaf in read_point(x, wide=True).leaves):
        raise ArgumentError("x is complex: expected real numbers; pass real and imaginary parts apart")
    if gradient is not None:
        return _of_gradient(gradient, x, precision=precision, bounds=bounds)
    function = function_at(f, x, precision=precision, scalar=True, bounds=bounds)  # type: ignore[arg-type]
    return _of_values(function)


def _of_gradient(
    gradient: Callable[[Any], Any], x: Any, *, precision: Precision, bounds: Any
) -> NumericalGradient:
    function = gradient_function_at(gradient, x, precision=precision, bounds=bounds)
    found = search(function, bounded_lines(function), scale_groups(function.point), method="auto")
    derivatives = in_units_of_f(function, found.derivatives)
    return _as_result(function, _symmetric(derivatives), deterministic=found.deterministic)


def _symmetric(found: Derivatives) -> Derivatives:
    """A symmetric matrix: of the two values of a pair the far sharper one, else their mean; the bar covers both where they differ."""
    value, error, one_sided = found.value, found.error, found.one_sided
    turned = error.T
    with np.errstate(invalid="ignore"):
        mean, bar = (value + value.T) / 2, (error + turned) / 2
        apart = np.abs(value - value.T)
        contradicted = np.where(apart > error + turned, apart, 0.0)
    for sharper, (other, width) in (
        (FAR_SHARPER * error < turned, (value, error)),
        (FAR_SHARPER * turned < error, (value.T, turned)),
    ):
        mean, bar = np.where(sharper, other, mean), np.where(sharper, width, bar)
    return replace(
        found,
        value=mean,
        error=np.maximum(bar, contradicted),
        kink=found.kink | found.kink.T,
        one_sided=one_sided | one_sided.T,
    )


def _of_values(function: Function) -> NumericalGradient:
    spread = repeat_spread(function)
    elements = _lines_with_own_scales(function)
    noise = _noise(function, elements, float(spread[0]))
    alone, sides = _own_derivatives(function, elements, noise)
    refuse_missing(function, elements, alone)
    every = np.arange(elements.count)
    whole = none_found(elements.count, elements.count)
    whole.put((every, every), _in_units_of_x(alone, elements.scales, every, every))
    starts = _starts(elements, alone, sides)
    for i, j in _parts(elements.count):
        for pair in set(zip(sides[i].tolist(), sides[j].tolist(), strict=True)):
            own = (sides[i] == pair[0]) & (sides[j] == pair[1])
            crossed = ElementPairs(
                elements=elements, i=i[own], j=j[own], units=starts, sides=pair, noise=noise
            )
            if not spread.any():
                crossed.consider_batches(function)
            _put_mixed(whole, function, crossed, kinks=alone.kink[:, 0])
    return _as_result(function, in_units_of_f(function, whole), deterministic=not spread.any())


def _lines_with_own_scales(function: Function) -> ElementLines:
    """A line for each element of x, with a scale of its own where it is far smaller than its array: over much longer steps second
    differences of an oscillating f vanish, and agree with each other.
    """
    lines = bounded_lines(function)
    sizes = np.abs(lines.point.flat)
    small = (sizes > TINIEST) & (sizes < OWN_SCALE * lines.scales)
    return replace(lines, scales=np.where(small, sizes, lines.scales))


def _noise(function: Function, elements: ElementLines, spread: float) -> NoiseByDistance:
    """The noise of f at x and at a few points at growing distances; it never decreases."""
    way = _random_move(elements)
    quantised = _noise_of_quantisation(function, way)
    levels = [max(spread, _noise_along(function, way), quantised)]
    for share in OFFSETS:
        level = 0.0
        try:
            there = function.at_another_point(function.point.flat + share * way)
            level = float(np.ldexp(_noise_along(there, way), there.exponents - function.exponents)[0])
            function.n_evaluations += there.n_evaluations
        except WellposedError:  # f is not defined there
            pass
        levels.append(max(level, levels[-1]))
    return NoiseByDistance(shares=np.array([0.0, *OFFSETS]), levels=np.array(levels), quantised=quantised > 0)


def _random_move(elements: ElementLines) -> Array:
    """A random move of all elements of x, each by about its scale, that stays within the bounds."""
    every = np.arange(elements.count)
    way = np.random.default_rng(0).uniform(-1.0, 1.0, size=elements.count)
    up, down = elements.room(every, 1), elements.room(every, -1)
    tight = np.minimum(up, down) < elements.scales
    way = np.where(tight, np.where(up >= down, np.abs(way), -np.abs(way)), way)
    return way * np.minimum(elements.scales, np.maximum(up, down))


def _noise_along(function: Function, way: Array) -> float:
    return float(noise_along_lines(function, _line(function, way), np.zeros(1, dtype=np.int64))[0, 0])


def _noise_of_quantisation(function: Function, way: Array) -> float:
    """The noise of quantisation, which short steps do not show: the search for a first derivative does. 0 where there is none."""
    try:
        found = search(function, _line(function, way), np.zeros(1, dtype=np.int64), method="auto").derivatives
    except ArgumentError:  # f ends beside x in this direction, and may not in others
        return 0.0
    return float(found.noise[0, 0]) if found.quantised[0, 0] else 0.0


def _line(function: Function, way: Array) -> DirectionLine:
    return DirectionLine(point=function.point, direction=way, scales=np.ones(1))


def _own_derivatives(
    function: Function, elements: ElementLines, noise: NoiseByDistance
) -> tuple[Derivatives, Indices]:
    """Second derivatives by each element alone, in units of its scale, and the side to which it is moved: 0, +1 or -1."""
    every = np.arange(elements.count)
    up, down = (elements.room(every, side) / elements.scales for side in (1, -1))
    nearest = np.minimum(up, down)
    found = _climb_own(function, elements, every, 0, noise, room=nearest)
    sides = np.zeros(elements.count, dtype=np.int64)
    cramped = np.isfinite(nearest) & (found.top[:, 0] >= nearest / RATIO**2)
    roomier = np.where(up >= down, 1, -1)
    for turned in (roomier, -roomier):
        for side, room in ((1, up), (-1, down)):
            again = np.flatnonzero((turned == side) & (~found.found[:, 0] | (cramped & (turned is roomier))))
            if again.size:
                beside = _climb_own(function, elements, again, side, noise, room=room[again] / 2)
                sharper = ~found.found[again] | (beside.error < found.error[again])
                better = again[(beside.found & sharper)[:, 0]]
                found.put(better, beside.take(np.isin(again, better)))
                sides[better] = side
    return found, sides


def _climb_own(
    function: Function,
    elements: ElementLines,
    which: Indices,
    side: int,
    noise: NoiseByDistance,
    *,
    room: Array,
) -> Derivatives:
    """Second derivatives by the elements `which`, each alone, with longer steps where these are better."""
    pairs = ElementPairs(
        elements=elements, i=which, j=which, units=elements.scales, sides=(side, side), noise=noise
    )
    first = np.where(room > 0, np.minimum(FIRST_STEP, room), FIRST_STEP)
    found = pairs.climb(function, np.arange(len(which)), first=first)

    found.quantised[:] = noise.quantised

    def again(some: Indices, first: Array, noise_factor: Array, _: NDArray[np.bool_]) -> Derivatives:
        return pairs.climb(function, some, first=first, noise=noise_factor)

    retry_with_larger_steps(found, again, first=first, factor=RATIO)
    return found


def _starts(elements: ElementLines, alone: Derivatives, sides: Indices) -> Array:
    """The first step in each element of x when two move: a rung above the longest one that was used when it moved alone.

    For an element along which f has no curvature it is that longest one.
    """
    telling = np.abs(alone.value) > alone.error
    steps = np.where(telling, RATIO * alone.top, alone.top)[:, 0] * elements.scales
    every = np.arange(elements.count)
    up, down = elements.room(every, 1), elements.room(every, -1)
    room = np.where(sides == 0, np.minimum(up, down), np.where(sides > 0, up, down))
    return np.minimum(steps, room)


def _parts(n: int) -> Iterator[tuple[Indices, Indices]]:
    """All pairs i < j, many at a time."""
    i, j = np.triu_indices(n, 1)
    for start in range(0, len(i), PAIRS_AT_ONCE):
        yield i[start : start + PAIRS_AT_ONCE], j[start : start + PAIRS_AT_ONCE]


def _put_mixed(
    whole: Derivatives, function: Function, pairs: ElementPairs, *, kinks: NDArray[np.bool_]
) -> None:
    """Write mixed derivatives into both triangles."""
    found = pairs.climb(function, np.arange(len(pairs.i)), first=np.ones(len(pairs.i)), ladder=SHORT)
    for k in np.flatnonzero(~found.found[:, 0])[:1]:
        for line in (pairs.i[k], pairs.j[k]):
            refuse_too_little_room(pairs.elements, int(line))
        names = [pairs.elements.name(int(which[k])) for which in (pairs.i, pairs.j)]
        raise ArgumentError(
            f"f is not finite beside x along {' and '.join(names)} together: expected finite values within a small step of x"
        )
    pairs.widen_kinks(function, found, kinks)
    whole.put((pairs.i, pairs.j), _in_units_of_x(found, pairs.units, pairs.i, pairs.j))
    whole.put((pairs.j, pairs.i), _in_units_of_x(found, pairs.units, pairs.j, pairs.i))


def _in_units_of_x(found: Derivatives, units: Array, i: Indices, j: Indices) -> Derivatives:
    """The derivatives in units of f and x, flat, with the steps in element i."""
    area = units[i] * units[j]
    scaled = {name: getattr(found, name)[:, 0] for name in vars(found)}
    return Derivatives(
        **scaled
        | {"value": scaled["value"] / area, "error": scaled["error"] / area}
        | {"step": scaled["step"] * units[i], "top": scaled["top"] * units[i]}
    )


def _as_result(function: Function, found: Derivatives, *, deterministic: bool) -> NumericalGradient:
    sides = set(found.one_sided.ravel().tolist())
    return NumericalGradient(
        **{
            name: function.point.like_x_twice(getattr(found, name))
            for name in ("value", "error", "step", "kink")
        },
        noise=float(np.max(found.noise)),
        n_evaluations=function.n_evaluations,
        method="mixed" if len(sides) == 2 else "one-sided" if True in sides else "two-sided",
        precision=function.point.precision,
        vectorised=function.vectorised,
        deterministic=deterministic,
    )


CORNERS = ((0, 0, 1.0), (0, 1, -1.0), (1, 0, -1.0), (1, 1, 1.0))
"""Which end of each side of the rectangle, and the sign of f there."""
ALONE_SPREAD = 6**0.5
"""Standard deviation of f(x + h) - 2 f(x) + f(x - h), where that of the noise of f is 1."""
CROSSED_SPREAD = 2.0
"""The same of the sum over four corners."""
SECOND_DIFFERENCE_SPREAD = (160 / 6) ** 0.5
"""The same of the difference of the second differences to both sides, over half a step each, in units of the one above."""
JUMP_DOUBT = 40.0
"""Mixed differences of several quadrants that differ by less than so many standard deviations of the noise count as equal."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseByDistance:
    """Standard deviation of the noise of f, by the distance from x relative to the scale of x."""

    shares: Array
    """Ascending."""
    levels: Array
    """Up to each share."""
    quantised: bool
    """Whether f is quantised."""

    def up_to(self, share: Array) -> Array:
        return self.levels[np.minimum(np.searchsorted(self.shares, share), len(self.shares) - 1)]


@dataclass(frozen=True, kw_only=True, eq=False)
class ElementPairs:
    """Pairs (i, j) of elements of x, i = j in all of them or in none, that leave x to the same sides."""

    elements: ElementLines
    i: Indices
    j: Indices
    units: Array
    """The units of the steps in each element of x, shape (size of x,)."""
    sides: tuple[int, int]
    """Of i and of j: 0 for steps to both sides, +1 and -1 for steps to that one."""
    noise: NoiseByDistance

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
        """Second derivatives of `some` of the pairs, from these first steps, in units of f and of both elements' steps."""
        pairs = ElementPairs(
            elements=self.elements,
            i=self.i[some],
            j=self.j[some],
            units=self.units,
            sides=self.sides,
            noise=self.noise,
        )
        two_sided = 2.0 ** -sum(
            side == 0 for side in self.sides
        )  # the side of the rectangle is then two steps long
        tableau = Tableau(
            noise=np.full((len(some), 1), self.noise.levels[0]) if noise is None else noise,
            coarse=np.zeros((len(some), 1), dtype=bool),
            side=self.sides[0] or self.sides[1],
            power=2,
            second_difference_spread=SECOND_DIFFERENCE_SPREAD,
            spread=ALONE_SPREAD if self.alone else CROSSED_SPREAD * two_sided,
        )

        def rung(open_: Indices, steps: Array, so_far: Tableau) -> StepPair:
            return pairs._rung(function, open_, steps, so_far.noise)

        def read(done: Indices, tableau: Tableau) -> Derivatives:
            diverging = diverges(tableau)
            tableau, best = read_smooth(tableau)
            return derived(function, tableau, best, diverging=diverging)

        return descend(tableau, first=first, rung=rung, read=read, ladder=ladder)

    def consider_batches(self, function: Function) -> None:
        """Evaluate f in batches from now on, where that works and is faster."""
        if not function.vectorised:
            i, j = self.i[:POINTS_TIMED], self.j[:POINTS_TIMED]
            rows = np.repeat(self.elements.point.flat[None], len(i), axis=0)
            for k, side in zip((i, j), self.sides, strict=True):
                rows[np.arange(len(k)), k] += (side or 1) * self.elements.near(k, self.units[k])
            function.vectorise(rows, noise=self.noise.levels[-1:])

    def _rung(self, function: Function, open_: Indices, steps: Array, noise: Array) -> StepPair:
        i, j = self.i[open_], self.j[open_]
        second_difference = np.zeros(len(i))
        with np.errstate(all="ignore"):
            if self.alone:
                slope, step, sizes = self._own_second_difference(function, i, steps)
                if self.sides[0] == 0:
                    second_difference = (
                        step * self.units[i] ** 2 * self._one_sided_difference(function, i, steps)
                    )
            else:
                slope, step, sizes = self._mixed_difference(function, i, j, steps)
            moved = np.maximum(*(steps * (self.units / self.elements.scales)[k] for k in (i, j)))
            noise = np.maximum(noise, self.noise.up_to(moved)[:, None])
            rounding = rounding_beside(function, sizes[:, None], noise)
        slope = (slope * self.units[i] * self.units[j])[:, None]
        missing = ~np.isfinite(slope)
        return StepPair(
            step=step,
            slope=np.where(missing, np.nan, slope),
            second_difference=second_difference[:, None],
            noise=np.maximum(noise, np.where(missing, 0.0, rounding)),
        )

    def _own_second_difference(
        self, function: Function, i: Indices, steps: Array
    ) -> tuple[Array, Array, Array]:
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

    def _one_sided_difference(self, function: Function, i: Indices, steps: Array) -> Array:
        """The jump of the second derivative: the second divided difference to the right minus that to the left, each over one step."""
        x, h = self.elements.point.flat[i], self.elements.near(i, steps * self.units[i])
        centre, found = function.centre[0], []
        for sign in (1.0, -1.0):
            mid, far = (self.elements.point.rounded(i, x + sign * part * h) for part in (0.5, 1.0))
            at_mid, at_far = (self._values(function, [i], [place]) for place in (mid, far))
            slopes = (at_far - centre) / (far - x) - (at_mid - centre) / (mid - x)
            found.append(2 * slopes / (far - mid))
        return found[0] - found[1]

    def widen_kinks(self, function: Function, found: Derivatives, kinks: NDArray[np.bool_]) -> None:
        """Where both elements have a kink by themselves, widen the bar of their mixed derivative to cover those of all four quadrants."""
        some = np.flatnonzero(kinks[self.i] & kinks[self.j] & found.found[:, 0])
        if not some.size or self.sides != (0, 0):
            return
        i, j, steps = self.i[some], self.j[some], found.step[some, 0]
        quadrants, sizes = [], []
        for right in (1, -1):
            for up in (1, -1):
                pairs = replace(self, i=i, j=j, sides=(right, up))
                slope, _, size = pairs._mixed_difference(function, i, j, steps)
                quadrants.append(slope * self.units[i] * self.units[j])
                sizes.append(size)
        noise = np.maximum(found.noise[some, 0], function.rounding(np.max(sizes, axis=0)))
        with np.errstate(invalid="ignore"):
            jump = np.ptp(quadrants, axis=0)
            jumps = jump > JUMP_DOUBT * noise / steps**2
        found.error[some, 0] += np.where(jumps, JUMP_SHARE * jump, 0.0)
        found.kink[some, 0] |= jumps

    def _mixed_difference(
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
        """F with these elements of x at these values, one point each."""
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
