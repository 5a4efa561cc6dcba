"""Where the slopes of longer steps part from the answer abruptly, as those of a smooth f never do.

What parts a slope from the answer, times its step, falls as step^3 for a smooth f: 64-fold from rung to rung, down to the noise. Where
a kink, a bump or a stair lies between two steps, the longer one knows of it and the shorter one does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .richardson import RATIO, Entry, Tableau

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

CLEAR = 8.0
"""Standard deviations of the noise."""
ABRUPT = 64.0
"""A smooth approach passes through at least one rung that is nearer than this, in standard deviations of the noise."""
LEAP = 4.0
"""A fall so many times larger than a smooth one, and than the one before it, is a leap."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Parting:
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


def parting_of(tableau: Tableau, best: Entry) -> Parting:
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
    return Parting(
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
