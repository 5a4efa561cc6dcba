"""Staircases: f computes in few digits somewhere inside, so over a step shorter than a stair that part of it stands still.

What is left of f is smooth there, and free of noise: its slope looks better than any other, and is not the derivative of f. Longer steps
see another slope, and part from the first one abruptly. So may a kink or a bump beside x; but there f bends, and a stair jumps. One jump
beside x is no staircase, either: then longer steps tell of nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .abrupt_changes import Parting, parting_of
from .function import Function
from .jumps import jumps_beside
from .lines import Indices, Lines
from .noise import POINTS, noise_from_tables
from .noise_from_ladder import louder_below
from .richardson import Entry, Tableau, best_entry, chosen

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

STOREYS = 3
"""A staircase of few digits may stand on one of fewer."""
ROUNDS = 3
"""Of asking the rungs how loud the noise of the stairs is."""
AGREED = 0.01
"""Largest bar, relative to a slope, on which longer steps agree."""
AGAIN = 0.25
"""Of the first jump; what moves by more at longer steps is another one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """A tableau and its best entry, once stairs are taken for the noise that they are."""

    tableau: Tableau
    best: Entry
    stairs: Flags
    torn: Flags
    """Where f jumps, and the steps were too short to tell whether it does so again."""


def reread(function: Function, lines: Lines, which: Indices, tableau: Tableau, best: Entry) -> Reading:
    none = np.zeros(best.value.shape, dtype=bool)
    reading = Reading(tableau=tableau, best=best, stairs=none, torn=none)
    for _ in range(STOREYS):
        before = reading
        reading = _without_stairs(function, lines, which, before)
        if reading.stairs is before.stairs:
            break
    return reading


def off_the_stair(tableau: Tableau, best: Entry) -> Tableau:
    """Where the best entry is that of steps along which f stood still, and longer ones agree on a slope: with the noise of that stair.

    The smallest change of f that was seen is the height of the stair. Where f is small by cancellation, no rounding of f tells it.
    Beside a kink f stands still, too, but longer steps agree on no slope, or f bends along them.
    """
    slopes, bends = np.stack([row[0] for row in tableau.values]), np.stack(tableau.jumps.bends)
    rungs = np.arange(len(slopes))[:, None, None]
    still = (slopes == 0) & (bends == 0)
    changes = np.maximum(np.abs(slopes) * np.stack(tableau.steps)[:, :, None], np.abs(bends) / 2)
    moved = ~still & np.isfinite(changes) & (rungs < best.rung)
    height = np.where(moved, changes, np.inf).min(axis=0)
    stands = np.take_along_axis(still, best.rung[None], axis=0)[0] & np.isfinite(height)
    if not stands.any():
        return tableau
    last = np.where(stands, np.where(moved, rungs, -1).max(axis=0), len(still))
    longer = best_entry(tableau.risen_to(np.where(stands, height / 12**0.5, 0.0)).down_to(last))
    agreed = stands & (longer.error < AGREED * np.abs(longer.value))
    if not agreed.any():
        return tableau
    risen = tableau.risen_to(np.where(agreed, height / 12**0.5, 0.0))
    return risen.down_to(np.where(agreed, last, len(still)))


def _without_stairs(function: Function, lines: Lines, which: Indices, reading: Reading) -> Reading:
    tableau, best = reading.tableau, reading.best
    parting = parting_of(tableau, best)
    jumps = jumps_beside(function, lines, which, tableau, best, parting)
    if not jumps.any():
        return reading
    # One jump moves a slope, times its step, by half of its size, and two by all of it.
    other = best_entry(_above(tableau, parting, jumps > 0, noise=jumps / 2))
    contradicted = np.abs(other.value - best.value) > other.error + best.error
    stairs = (jumps > 0) & np.isfinite(other.error) & (contradicted | (parting.moves > AGAIN * jumps))
    torn = reading.torn | ((jumps > 0) & ~stairs)
    if not stairs.any():
        return Reading(tableau=tableau, best=best, stairs=reading.stairs, torn=torn)
    noise = np.maximum(jumps / 12**0.5, _noise(function, lines, which, tableau, parting, stairs))
    above = _above(tableau, parting, stairs, noise=noise)
    other = best_entry(above)
    for _ in range(ROUNDS):
        louder = np.where(stairs, louder_below(above, other), 1.0)
        if (louder == 1).all():
            break
        above = above.at(louder)
        other = best_entry(above)
    return Reading(
        tableau=above, best=chosen(stairs, other, best), stairs=reading.stairs | stairs, torn=torn & ~stairs
    )


def _above(tableau: Tableau, parting: Parting, where: Flags, *, noise: Array) -> Tableau:
    """The rungs that are longer than a stair: shorter ones know nothing of it."""
    known = parting.deviation * 2**0.5
    louder = np.where(where, np.maximum(noise / known, 1.0), 1.0)
    return tableau.down_to(np.where(where, parting.rung, len(tableau.steps))).at(louder)


def _noise(
    function: Function, lines: Lines, which: Indices, tableau: Tableau, parting: Parting, stairs: Flags
) -> Array:
    """The noise of the stairs, from values a stair or more apart."""
    line, output = np.nonzero(stairs)
    steps = np.stack(tableau.steps)[parting.rung[line, output], line]
    inward = np.array([lines.inward(int(i)) for i in which[line]])
    ts = np.arange(1, POINTS + 1)[:, None] * inward * steps
    values, _ = function.along(lines, np.tile(which[line], POINTS), ts.ravel())
    table = values[np.arange(ts.size), np.tile(output, POINTS)].reshape(ts.shape)
    finite = np.isfinite(table).all(axis=0)
    found = np.zeros(stairs.shape)
    found[line, output] = np.where(finite, noise_from_tables(np.where(finite, table, 0.0)), 0.0)
    return found
