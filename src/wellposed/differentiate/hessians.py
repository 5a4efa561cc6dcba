"""`hessian`: all second derivatives of one real number, with their error bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import callable_or_none
from ..errors import ArgumentError, WellposedError
from ._numerical_gradient import (
    TINIEST,
    Precision,
    around,
    around_gradient,
    bounded_lines,
    checked,
    in_units_of_f,
    scale_groups,
)
from .function import Function
from .lines import DirectionLine, ElementLines, Indices
from .mixed_second import Noise, Pairs
from .points import opened
from .result import NumericalGradient
from .richardson import RATIO
from .step_ladder import SHORT, Derivatives, none_found
from .step_search import (
    FIRST_STEP,
    all_found,
    further,
    noise_along_lines,
    refuse_cramped,
    repeat_spread,
    search,
)

Array = NDArray[np.float64]

OFF = (3e-5, 2e-3, FIRST_STEP)
"""Shares of the scale of x by which points lie off it at most at which the noise is measured, too: where terms cancel at x, their
rounding shows beside it alone."""
SHARPER = 4.0
"""How many times narrower a bar must be for its value to stand alone."""
SMALL = 1e-3
"""Share of the scale of its array below which an element has a scale of its own."""
TOGETHER = 2**15
"""Pairs that climb at once."""


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
    if any(leaf.is_complex for leaf in opened(x, wide=True).leaves):
        raise ArgumentError("x is complex: expected real numbers; pass real and imaginary parts apart")
    if gradient is not None:
        return _of_gradient(gradient, x, precision=precision, bounds=bounds)
    function = around(f, x, precision=precision, scalar=True, bounds=bounds)  # type: ignore[arg-type]
    return _of_values(function)


def _of_gradient(
    gradient: Callable[[Any], Any], x: Any, *, precision: Precision, bounds: Any
) -> NumericalGradient:
    function = around_gradient(gradient, x, precision=precision, bounds=bounds)
    found = search(function, bounded_lines(function), scale_groups(function.point), method="auto")
    derivatives = in_units_of_f(function, found.derivatives)
    return _laid_out(function, _symmetric(derivatives), deterministic=found.deterministic)


def _symmetric(found: Derivatives) -> Derivatives:
    """Of the two values for a pair the far sharper one, or else their mean; where they contradict each other, the bar holds both."""
    value, error, one_sided = found.value, found.error, found.one_sided
    turned = error.T
    with np.errstate(invalid="ignore"):
        mean, bar = (value + value.T) / 2, (error + turned) / 2
        apart = np.abs(value - value.T)
        contradicted = np.where(apart > error + turned, apart, 0.0)
    for sharper, (other, width) in (
        (SHARPER * error < turned, (value, error)),
        (SHARPER * turned < error, (value.T, turned)),
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
    elements = _own_lines(function)
    noise = _noise(function, elements, float(spread[0]))
    alone, sides = _alone(function, elements, noise)
    all_found(function, elements, alone)
    every = np.arange(elements.count)
    whole = none_found(elements.count, elements.count)
    whole.put((every, every), _of_pairs(alone, elements.scales, every, every))
    starts = _starts(elements, alone, sides)
    for i, j in _parts(elements.count):
        for pair in set(zip(sides[i].tolist(), sides[j].tolist(), strict=True)):
            own = (sides[i] == pair[0]) & (sides[j] == pair[1])
            crossed = Pairs(elements=elements, i=i[own], j=j[own], units=starts, sides=pair, noise=noise)
            if not spread.any():
                crossed.consider_batches(function)
            _put_crossed(whole, function, crossed, kinks=alone.kink[:, 0])
    return _laid_out(function, in_units_of_f(function, whole), deterministic=not spread.any())


def _own_lines(function: Function) -> ElementLines:
    """A line for each element of x, whose scale is its own where the array holds far larger ones: over such steps second differences of
    waves vanish, and agree upon it.
    """
    lines = bounded_lines(function)
    sizes = np.abs(lines.point.flat)
    small = (sizes > TINIEST) & (sizes < SMALL * lines.scales)
    return replace(lines, scales=np.where(small, sizes, lines.scales))


def _noise(function: Function, elements: ElementLines, spread: float) -> Noise:
    """The noise of f at x, and at a few points off it, further and further away; it never falls."""
    way = _way(elements)
    stairs = _noise_of_stairs(function, way)
    levels = [max(spread, _noise_along(function, way), stairs)]
    for share in OFF:
        level = 0.0
        try:
            there = function.elsewhere(function.point.flat + share * way)
            level = float(np.ldexp(_noise_along(there, way), there.exponents - function.exponents)[0])
            function.n_evaluations += there.n_evaluations
        except WellposedError:  # f is not defined there
            pass
        levels.append(max(level, levels[-1]))
    return Noise(shares=np.array([0.0, *OFF]), levels=np.array(levels), of_stairs=stairs > 0)


def _way(elements: ElementLines) -> Array:
    """A random move of all elements of x, each by about its scale, that stays within the bounds."""
    every = np.arange(elements.count)
    way = np.random.default_rng(0).uniform(-1.0, 1.0, size=elements.count)
    up, down = elements.room(every, 1), elements.room(every, -1)
    tight = np.minimum(up, down) < elements.scales
    way = np.where(tight, np.where(up >= down, np.abs(way), -np.abs(way)), way)
    return way * np.minimum(elements.scales, np.maximum(up, down))


def _noise_along(function: Function, way: Array) -> float:
    return float(noise_along_lines(function, _line(function, way), np.zeros(1, dtype=np.int64))[0, 0])


def _noise_of_stairs(function: Function, way: Array) -> float:
    """Where f is a staircase, short steps see none of it: the search for a first derivative notices."""
    try:
        found = search(function, _line(function, way), np.zeros(1, dtype=np.int64), method="auto").derivatives
    except ArgumentError:  # f ends beside x along this way, and along others it may not
        return 0.0
    return float(found.noise[0, 0]) if found.stairs[0, 0] else 0.0


def _line(function: Function, way: Array) -> DirectionLine:
    return DirectionLine(point=function.point, direction=way, scales=np.ones(1))


def _alone(function: Function, elements: ElementLines, noise: Noise) -> tuple[Derivatives, Indices]:
    """Second derivatives along each element by itself, in units of its scale, and the side to which each is moved: 0, +1 or -1."""
    every = np.arange(elements.count)
    up, down = (elements.room(every, side) / elements.scales for side in (1, -1))
    nearest = np.minimum(up, down)
    found = _climbed(function, elements, every, 0, noise, room=nearest)
    sides = np.zeros(elements.count, dtype=np.int64)
    cramped = np.isfinite(nearest) & (found.top[:, 0] >= nearest / RATIO**2)
    roomier = np.where(up >= down, 1, -1)
    for turned in (roomier, -roomier):
        for side, room in ((1, up), (-1, down)):
            again = np.flatnonzero((turned == side) & (~found.found[:, 0] | (cramped & (turned is roomier))))
            if again.size:
                beside = _climbed(function, elements, again, side, noise, room=room[again] / 2)
                sharper = ~found.found[again] | (beside.error < found.error[again])
                better = again[(beside.found & sharper)[:, 0]]
                found.put(better, beside.take(np.isin(again, better)))
                sides[better] = side
    return found, sides


def _climbed(
    function: Function, elements: ElementLines, which: Indices, side: int, noise: Noise, *, room: Array
) -> Derivatives:
    """Along `which`, each alone, with larger steps where these are better."""
    pairs = Pairs(elements=elements, i=which, j=which, units=elements.scales, sides=(side, side), noise=noise)
    first = np.where(room > 0, np.minimum(FIRST_STEP, room), FIRST_STEP)
    found = pairs.climb(function, np.arange(len(which)), first=first)

    found.stairs[:] = noise.of_stairs

    def again(some: Indices, first: Array, louder: Array, _: NDArray[np.bool_]) -> Derivatives:
        return pairs.climb(function, some, first=first, noise=louder)

    further(found, again, first=first, reach=RATIO)
    return found


def _starts(elements: ElementLines, alone: Derivatives, sides: Indices) -> Array:
    """The first step in each element of x where two move: a rung above the largest one that is of use where it moves alone.

    An element along which f does not bend teaches nothing but that its largest steps are harmless.
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
    for start in range(0, len(i), TOGETHER):
        yield i[start : start + TOGETHER], j[start : start + TOGETHER]


def _put_crossed(whole: Derivatives, function: Function, pairs: Pairs, *, kinks: NDArray[np.bool_]) -> None:
    """Mixed derivatives into both triangles."""
    found = pairs.climb(function, np.arange(len(pairs.i)), first=np.ones(len(pairs.i)), ladder=SHORT)
    for k in np.flatnonzero(~found.found[:, 0])[:1]:
        for line in (pairs.i[k], pairs.j[k]):
            refuse_cramped(pairs.elements, int(line))
        names = [pairs.elements.name(int(which[k])) for which in (pairs.i, pairs.j)]
        raise ArgumentError(
            f"f is not finite beside x along {' and '.join(names)} together: expected finite values within a small step of x"
        )
    pairs.widen_kinks(function, found, kinks)
    whole.put((pairs.i, pairs.j), _of_pairs(found, pairs.units, pairs.i, pairs.j))
    whole.put((pairs.j, pairs.i), _of_pairs(found, pairs.units, pairs.j, pairs.i))


def _of_pairs(found: Derivatives, units: Array, i: Indices, j: Indices) -> Derivatives:
    """Flat, in units of f over those of x, with the steps in element i."""
    area = units[i] * units[j]
    scaled = {name: getattr(found, name)[:, 0] for name in vars(found)}
    return Derivatives(
        **scaled
        | {"value": scaled["value"] / area, "error": scaled["error"] / area}
        | {"step": scaled["step"] * units[i], "top": scaled["top"] * units[i]}
    )


def _laid_out(function: Function, found: Derivatives, *, deterministic: bool) -> NumericalGradient:
    sides = set(found.one_sided.ravel().tolist())
    return NumericalGradient(
        **{name: function.point.squared(getattr(found, name)) for name in ("value", "error", "step", "kink")},
        noise=float(np.max(found.noise)),
        n_evaluations=function.n_evaluations,
        method="mixed" if len(sides) == 2 else "one-sided" if True in sides else "two-sided",
        precision=function.point.precision,
        vectorised=function.vectorised,
        deterministic=deterministic,
    )
