"""Quantisation: f computes in few digits somewhere inside, so that over steps shorter than one level a part of f is constant.

The rest of f is smooth there and free of noise: its slope has the smallest error bar of all, and is not the derivative of f. The slopes of
longer steps change abruptly. A kink or a bump beside x has the same effect; but there f bends, and between two levels it jumps, which
bisection shows: the slope across the interval doubles each time at a jump, and stays the same at a kink. A single jump beside x is not
quantisation either: then longer steps show no further change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .function import Function
from .lines import Indices, Lines
from .noise import POINTS, noise_factor_below, noise_from_tables
from .richardson import CLEAR, RATIO, Tableau, TableEntry, best_entry, chosen

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

MOST_LEVELS = 3
"""Roundings to different numbers of digits inside one another that are looked for."""
ROUNDS = 3
"""Corrections of the noise of the quantisation from the ladder."""
AGREED = 0.01
"""Bar, relative to the slope, with which longer steps count as agreeing."""
AGAIN = 0.25
"""Part of the first jump; a further change that is larger is another jump."""


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantisationResult:
    """A tableau and its best entry, with quantisation treated as noise."""

    tableau: Tableau
    best: TableEntry
    quantised: Flags
    lone_jump: Flags
    """Where f jumps, and the steps were too short to show whether it does so again."""


def allow_for_quantisation(
    function: Function, lines: Lines, which: Indices, tableau: Tableau, best: TableEntry
) -> QuantisationResult:
    none = np.zeros(best.value.shape, dtype=bool)
    reading = QuantisationResult(tableau=tableau, best=best, quantised=none, lone_jump=none)
    for _ in range(MOST_LEVELS):
        before = reading
        reading = _with_quantisation_noise(function, lines, which, before)
        if reading.quantised is before.quantised:
            break
    return reading


def skip_constant_steps(tableau: Tableau, best: TableEntry) -> Tableau:
    """The tableau with the noise of the quantisation, where f was constant along the steps of the best entry and longer steps agree on a slope.

    The smallest change of f that occurred is the height of a level; the rounding of f(x) does not show it where terms of f cancel. Beside
    a kink f may be constant too, but then longer steps do not agree on a slope.
    """
    slopes, second_differences = (
        np.stack([row[0] for row in tableau.values]),
        np.stack(tableau.jumps.second_differences),
    )
    rungs = np.arange(len(slopes))[:, None, None]
    still = (slopes == 0) & (second_differences == 0)
    changes = np.maximum(np.abs(slopes) * np.stack(tableau.steps)[:, :, None], np.abs(second_differences) / 2)
    moved = ~still & np.isfinite(changes) & (rungs < best.rung)
    height = np.where(moved, changes, np.inf).min(axis=0)
    stands = np.take_along_axis(still, best.rung[None], axis=0)[0] & np.isfinite(height)
    if not stands.any():
        return tableau
    last = np.where(stands, np.where(moved, rungs, -1).max(axis=0), len(still))
    longer = best_entry(
        tableau.with_noise_at_least(np.where(stands, height / 12**0.5, 0.0)).without_rungs_below(last)
    )
    agreed = stands & (longer.error < AGREED * np.abs(longer.value))
    if not agreed.any():
        return tableau
    risen = tableau.with_noise_at_least(np.where(agreed, height / 12**0.5, 0.0))
    return risen.without_rungs_below(np.where(agreed, last, len(still)))


def _with_quantisation_noise(
    function: Function, lines: Lines, which: Indices, reading: QuantisationResult
) -> QuantisationResult:
    tableau, best = reading.tableau, reading.best
    change = abrupt_change(tableau, best)
    jumps = jumps_beside(function, lines, which, tableau, best, change)
    if not jumps.any():
        return reading
    # One jump changes slope times step by half of the size of the jump, two jumps by all of it.
    other = best_entry(_above(tableau, change, jumps > 0, noise=jumps / 2))
    contradicted = np.abs(other.value - best.value) > other.error + best.error
    quantised = (jumps > 0) & np.isfinite(other.error) & (contradicted | (change.further > AGAIN * jumps))
    lone_jump = reading.lone_jump | ((jumps > 0) & ~quantised)
    if not quantised.any():
        return QuantisationResult(
            tableau=tableau, best=best, quantised=reading.quantised, lone_jump=lone_jump
        )
    noise = np.maximum(jumps / 12**0.5, _noise(function, lines, which, tableau, change, quantised))
    above = _above(tableau, change, quantised, noise=noise)
    other = best_entry(above)
    for _ in range(ROUNDS):
        noise_factor = np.where(quantised, noise_factor_below(above, other), 1.0)
        if (noise_factor == 1).all():
            break
        above = above.with_noise_times(noise_factor)
        other = best_entry(above)
    return QuantisationResult(
        tableau=above,
        best=chosen(quantised, other, best),
        quantised=reading.quantised | quantised,
        lone_jump=lone_jump & ~quantised,
    )


def _above(tableau: Tableau, change: AbruptChange, where: Flags, *, noise: Array) -> Tableau:
    """The tableau of the rungs longer than a level; shorter ones do not show the quantisation."""
    known = change.deviation * 2**0.5
    noise_factor = np.where(where, np.maximum(noise / known, 1.0), 1.0)
    return tableau.without_rungs_below(np.where(where, change.rung, len(tableau.steps))).with_noise_times(
        noise_factor
    )


def _noise(
    function: Function, lines: Lines, which: Indices, tableau: Tableau, change: AbruptChange, quantised: Flags
) -> Array:
    """The noise of the quantisation, from values that are a level or more apart."""
    line, output = np.nonzero(quantised)
    steps = np.stack(tableau.steps)[change.rung[line, output], line]
    inward = np.array([lines.inward(int(i)) for i in which[line]])
    ts = np.arange(1, POINTS + 1)[:, None] * inward * steps
    values, _ = function.along(lines, np.tile(which[line], POINTS), ts.ravel())
    table = values[np.arange(ts.size), np.tile(output, POINTS)].reshape(ts.shape)
    finite = np.isfinite(table).all(axis=0)
    found = np.zeros(quantised.shape)
    found[line, output] = np.where(finite, noise_from_tables(np.where(finite, table, 0.0)), 0.0)
    return found


ABRUPT = 64.0
"""A smooth approach has at least one rung that is nearer than this, in standard deviations of the noise, before it ends in the noise."""
LARGE_DECREASE = 4.0
"""A decrease this many times larger than a smooth one, and than the one before, is abrupt."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AbruptChange:
    """Of each line and output, shape (lines, outputs)."""

    rung: NDArray[np.int64]
    """The last rung before an abrupt change; -1 where there is none."""
    deviation: Array
    """Standard deviation of the noise in a slope of this rung, times its step."""
    further: Array
    """By how much slope times step changes further at longer rungs, beyond what a smooth f allows."""

    @property
    def exists(self) -> Flags:
        return self.rung >= 0


def abrupt_change(tableau: Tableau, best: TableEntry) -> AbruptChange:
    """Where the slopes of the rungs above the best entry change abruptly."""
    steps = np.stack(tableau.steps)[:, :, None] ** tableau.power
    distance = np.nan_to_num((np.stack([row[0] for row in tableau.values]) - best.value) * steps)
    deviations = np.stack([row[0] for row in tableau.deviations]) * steps
    rungs = np.arange(len(steps))[:, None, None]
    fall = RATIO ** (tableau.order + tableau.power)
    abrupt = _abrupt(np.abs(distance), deviations, rungs < best.rung, fall=fall)
    last = np.where(abrupt, rungs, -1).max(axis=0)

    def at(values: Array, rung: NDArray[np.int64]) -> Array:
        return np.take_along_axis(values, np.clip(rung, 0, len(steps) - 1)[None], axis=0)[0]

    near = np.maximum(at(np.abs(distance), last + 1), CLEAR * at(deviations, last + 1))
    smooth = near * fall ** np.maximum(last + 1 - rungs, 0)
    further = np.abs(distance - at(distance, last))
    return AbruptChange(
        rung=last,
        deviation=at(deviations, last),
        further=np.where((rungs < last) & (smooth < further / 4), further - smooth, 0.0).max(axis=0),
    )


def _abrupt(away: Array, deviations: Array, above: Flags, *, fall: float) -> Flags:
    """Rungs that are above the noise while the next one is far nearer to the answer, or within the noise."""
    clear = above & (away > CLEAR * deviations)
    rung = np.arange(len(away))[:, None, None]
    # Above the first rung nothing is known: assume the distance of a kink or level, proportional to the step.
    longer = _shifted(away, -1, fill=RATIO * away[:1])
    shorter, clearly_after = _shifted(away, 1), _shifted(np.where(clear, away, 0.0), 2)
    # The next rung may be near by chance where the sign changes; then the one after it is not.
    expected = fall * np.maximum(np.maximum(shorter, CLEAR * deviations), fall * clearly_after)
    leap = (away > LARGE_DECREASE * expected) & (away**2 > LARGE_DECREASE * longer * shorter)
    # A single decrease is less certain: that of x^9 is as large.
    leap &= (rung > 0) | (away > fall**2 * expected)
    # A decrease into the noise may end a smooth approach, unless the approach was slower than a smooth one's.
    into_noise = (rung > 0) & ~_shifted(clear, 1) & (away > ABRUPT * deviations)
    return clear & (leap | (into_noise & (longer < (RATIO * fall) ** 0.5 * away)))


def _shifted(values: NDArray[Any], by: int, *, fill: Array | None = None) -> NDArray[Any]:
    """`values` of the rung that is `by` rungs further down; zero, or `fill`, beyond the ends."""
    if by < 0:
        return np.concatenate([values[:1] if fill is None else fill, values[:by]])
    return np.concatenate([values[by:], np.zeros_like(values[:by])])


HALVINGS = 10
STEEPER = 8.0
"""Growth of the slope over the second half of the bisection: 32 at a jump, about 1 at a kink."""
HIGHER = 1.25
"""A jump keeps its size; at a pole it grows."""
SIDES = np.array([[1.0], [-1.0]])


def jumps_beside(
    function: Function, lines: Lines, which: Indices, tableau: Tableau, best: TableEntry, change: AbruptChange
) -> Array:
    """The size of the jump of f for each line and output; 0 where f only bends, or there is no abrupt change."""
    line, output = np.nonzero(change.exists)
    sizes = np.zeros(change.rung.shape)
    if not line.size:
        return sizes
    rung, value = change.rung[line, output], best.value[line, output]
    steps = np.stack(tableau.steps)
    distance = np.stack([row[0] for row in tableau.values]) - best.value
    second_differences = np.stack(tableau.jumps.second_differences)

    def rest(k: Indices) -> Array:
        """F minus its tangent at this rung, to the right and to the left."""
        return SIDES * distance[k, line, output] * steps[k, line] + second_differences[k, line, output] / 2

    low, high = steps[rung + 1, line], steps[rung, line]
    curve = rest(rung + 1) / low**2
    far = rest(rung) - curve * high**2
    if tableau.one_sided:
        side = np.full(len(line), 0 if tableau.side > 0 else 1)
    else:
        side = np.abs(far).argmax(axis=0)
    places = np.arange(len(line))
    curve, at_high, at_low = curve[side, places], far[side, places], np.zeros(len(line))
    gaps, slopes = [], []
    for _ in range(HALVINGS):
        middle = SIDES[side, 0] * lines.near(which[line], (low + high) / 2)
        values, step = function.along(lines, which[line], middle)
        at = values[places, output] - function.centre[output] - value * step - curve * step**2
        at = np.where(np.isfinite(at), at, 0.0)
        upper = np.abs(at - at_low) >= np.abs(at_high - at)
        high, at_high = np.where(upper, np.abs(step), high), np.where(upper, at, at_high)
        low, at_low = np.where(upper, low, np.abs(step)), np.where(upper, at_low, at)
        gaps.append(np.abs(at_high - at_low))
        slopes.append(gaps[-1] / (high - low))
    half = HALVINGS // 2 - 1
    steeper = slopes[-1] > STEEPER * slopes[half]
    clear = gaps[-1] > CLEAR * change.deviation[line, output]
    sizes[line, output] = np.where(steeper & clear & (gaps[-1] < HIGHER * gaps[half]), gaps[-1], 0.0)
    return sizes
