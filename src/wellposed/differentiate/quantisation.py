"""Staircases: f computes in few digits somewhere inside, so over a step shorter than a stair that part of it stands still.

What is left of f is smooth there, and free of noise: its slope looks better than any other, and is not the derivative of f. Longer steps
see another slope, and part from the first one abruptly. So may a kink or a bump beside x; but there f bends, and a stair jumps. One jump
beside x is no staircase, either: then longer steps tell of nothing else.
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
"""A staircase of few digits may stand on one of fewer."""
ROUNDS = 3
"""Of asking the rungs how loud the noise of the stairs is."""
AGREED = 0.01
"""Largest bar, relative to a slope, on which longer steps agree."""
AGAIN = 0.25
"""Of the first jump; what moves by more at longer steps is another one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantisationResult:
    """A tableau and its best entry, once stairs are taken for the noise that they are."""

    tableau: Tableau
    best: TableEntry
    quantised: Flags
    lone_jump: Flags
    """Where f jumps, and the steps were too short to tell whether it does so again."""


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
    """Where the best entry is that of steps along which f stood still, and longer ones agree on a slope: with the noise of that stair.

    The smallest change of f that was seen is the height of the stair. Where f is small by cancellation, no rounding of f tells it.
    Beside a kink f stands still, too, but longer steps agree on no slope, or f bends along them.
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
    # One jump moves a slope, times its step, by half of its size, and two by all of it.
    other = best_entry(_above(tableau, change, jumps > 0, noise=jumps / 2))
    contradicted = np.abs(other.value - best.value) > other.error + best.error
    quantised = (jumps > 0) & np.isfinite(other.error) & (contradicted | (change.moves > AGAIN * jumps))
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
    """The rungs that are longer than a stair: shorter ones know nothing of it."""
    known = change.deviation * 2**0.5
    noise_factor = np.where(where, np.maximum(noise / known, 1.0), 1.0)
    return tableau.without_rungs_below(np.where(where, change.rung, len(tableau.steps))).with_noise_times(
        noise_factor
    )


def _noise(
    function: Function, lines: Lines, which: Indices, tableau: Tableau, change: AbruptChange, quantised: Flags
) -> Array:
    """The noise of the stairs, from values a stair or more apart."""
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
"""A smooth approach passes through at least one rung that is nearer than this, in standard deviations of the noise."""
LEAP = 4.0
"""A fall so many times larger than a smooth one, and than the one before it, is a leap."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AbruptChange:
    """Of each line and output, shape (lines, outputs)."""

    rung: NDArray[np.int64]
    """The last one that leaps; -1 where none does."""
    deviation: Array
    """Standard deviation of the noise in a slope of this rung, times its step."""
    moves: Array
    """How far slope times step moves from this rung to longer ones, beyond what a smooth f could do."""

    @property
    def suspicious(self) -> Flags:
        return self.rung >= 0


def abrupt_change(tableau: Tableau, best: TableEntry) -> AbruptChange:
    """Where the rungs above the best entry part from it."""
    steps = np.stack(tableau.steps)[:, :, None] ** tableau.power
    parted = np.nan_to_num((np.stack([row[0] for row in tableau.values]) - best.value) * steps)
    deviations = np.stack([row[0] for row in tableau.deviations]) * steps
    rungs = np.arange(len(steps))[:, None, None]
    fall = RATIO ** (tableau.order + tableau.power)
    leaps = _leaps(np.abs(parted), deviations, rungs < best.rung, fall=fall)
    last = np.where(leaps, rungs, -1).max(axis=0)

    def at(values: Array, rung: NDArray[np.int64]) -> Array:
        return np.take_along_axis(values, np.clip(rung, 0, len(steps) - 1)[None], axis=0)[0]

    near = np.maximum(at(np.abs(parted), last + 1), CLEAR * at(deviations, last + 1))
    smooth = near * fall ** np.maximum(last + 1 - rungs, 0)
    moves = np.abs(parted - at(parted, last))
    return AbruptChange(
        rung=last,
        deviation=at(deviations, last),
        moves=np.where((rungs < last) & (smooth < moves / 4), moves - smooth, 0.0).max(axis=0),
    )


def _leaps(away: Array, deviations: Array, above: Flags, *, fall: float) -> Flags:
    """Rungs that stand clear of the noise while the next one is far nearer to the answer, or in the noise."""
    clear = above & (away > CLEAR * deviations)
    rung = np.arange(len(away))[:, None, None]
    # Above the first rung nothing is known: there a stair would part the slopes in proportion to the step.
    longer = _shifted(away, -1, fill=RATIO * away[:1])
    shorter, clearly_after = _shifted(away, 1), _shifted(np.where(clear, away, 0.0), 2)
    # The next rung may be near by chance where the approach changes its sign; then the one after it is not.
    expected = fall * np.maximum(np.maximum(shorter, CLEAR * deviations), fall * clearly_after)
    leap = (away > LEAP * expected) & (away**2 > LEAP * longer * shorter)
    # One fall tells less than several: x^9 leaps so far.
    leap &= (rung > 0) | (away > fall**2 * expected)
    # A leap into the noise may end a regular approach; one that was slower than a smooth one's does not.
    into_noise = (rung > 0) & ~_shifted(clear, 1) & (away > ABRUPT * deviations)
    return clear & (leap | (into_noise & (longer < (RATIO * fall) ** 0.5 * away)))


def _shifted(values: NDArray[Any], by: int, *, fill: Array | None = None) -> NDArray[Any]:
    """`values` of the rung that is `by` rungs further down; zero, or `fill`, beyond the ends."""
    if by < 0:
        return np.concatenate([values[:1] if fill is None else fill, values[:by]])
    return np.concatenate([values[by:], np.zeros_like(values[:by])])


HALVINGS = 10
STEEPER = 8.0
"""Growth of the slope over the second half of the halvings: 32 at a jump, about 1 at a kink."""
HIGHER = 1.25
"""A jump keeps its size; at a pole it grows."""
SIDES = np.array([[1.0], [-1.0]])


def jumps_beside(
    function: Function, lines: Lines, which: Indices, tableau: Tableau, best: TableEntry, change: AbruptChange
) -> Array:
    """The size of the jump of each line and output; 0 where f bends, or nothing is suspicious."""
    line, output = np.nonzero(change.suspicious)
    sizes = np.zeros(change.rung.shape)
    if not line.size:
        return sizes
    rung, value = change.rung[line, output], best.value[line, output]
    steps = np.stack(tableau.steps)
    parted = np.stack([row[0] for row in tableau.values]) - best.value
    second_differences = np.stack(tableau.jumps.second_differences)

    def rest(k: Indices) -> Array:
        """F less its tangent at this rung, to the right and to the left."""
        return SIDES * parted[k, line, output] * steps[k, line] + second_differences[k, line, output] / 2

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
