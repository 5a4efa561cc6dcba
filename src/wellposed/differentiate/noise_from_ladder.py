"""Whether the noise is louder than thought: what the ladder shows of it below its best rung.

What parts a slope from the answer, times its step, falls as step^3 for a smooth f, as step beside a kink, and keeps its size
where it is noise. All arrays have the shape (lines, outputs).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .abrupt_changes import CLEAR
from .richardson import RATIO, Entry, Tableau

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

WIDEST = 4.0
"""Standard deviations that noise hardly exceeds; that of stairs cannot."""
SPREAD = 4
"""Rungs over which noise must keep its size."""
FLAT = 0.6
"""Power of the step: 0 is noise, with a scatter of 0.4 over four rungs; 1 a kink, 3 a smooth function."""


def louder_below(tableau: Tableau, best: Entry) -> Array:
    """How much louder than thought the noise is, from the best entry's column below it: there only noise parts it from the answer."""
    seen, count = _seen_below(tableau, best)
    rms = np.sqrt((seen**2).sum(axis=0) / np.maximum(count, 1))
    return np.where(count >= 2, np.maximum(rms, 1.0), 1.0)


def quiet_below(tableau: Tableau, best: Entry) -> Flags:
    """Whether the entries of the best one's column below it, two at least, differ from it by no more than the noise."""
    seen, count = _seen_below(tableau, best)
    return (count >= 2) & (seen.max(axis=0) < WIDEST)


def steady_below(tableau: Tableau, best: Entry) -> Flags:
    """Whether the slopes of the three rungs below the best one differ from it by no more than the noise."""
    away, rungs = _away(tableau, best.value)
    near = (rungs > best.rung) & (rungs <= best.rung + 3)
    return np.asarray(~(near & (away > WIDEST * _slope_noise(tableau))).any(axis=0))


def _seen_below(tableau: Tableau, best: Entry) -> tuple[Array, Array]:
    """What parts each entry below the best one, in its column, from it, in standard deviations of its noise; and how many there are."""
    rungs = np.arange(len(tableau.steps))[:, None, None]
    column = best.column[None, None]
    values = np.take_along_axis(np.stack(tableau.values), column, axis=1)[:, 0]
    deviations = np.take_along_axis(np.stack(tableau.deviations), column, axis=1)[:, 0]
    seen = np.maximum(np.abs(values - best.value) - best.error, 0.0) / deviations
    below = (rungs > best.rung) & np.isfinite(seen)
    return np.where(below, seen, 0.0), below.sum(axis=0)


def looks_like_noise(tableau: Tableau, best: Entry) -> Flags:
    """Whether what parts the slopes below the best entry from it is as large, times the step, at one step as at another.

    Near a pole it grows as the steps shrink.
    """
    away, rungs = _away(tableau, best.value)
    below = rungs > best.rung
    peak = np.where(below, away, -1.0).argmax(axis=0)
    used = below & (rungs <= peak) & (away > 0)
    count = used.sum(axis=0)
    y = np.where(used, np.log(np.where(used, away, 1.0)) / np.log(RATIO), 0.0)
    t = np.where(used, rungs - (used * rungs).sum(axis=0) / np.maximum(count, 1), 0.0)
    power = (t * y).sum(axis=0) / np.maximum((t * t).sum(axis=0), 1e-300)
    return (count < SPREAD) | (np.abs(power) < FLAT)


def approached(tableau: Tableau, best: Entry) -> Flags:
    """Whether the slopes above the best entry come near it as those of a smooth f do, by leaps of step^2."""
    away, rungs = _away(tableau, best.value)
    clear = (away > CLEAR * _slope_noise(tableau)) & (rungs < best.rung)
    last = np.where(clear, rungs, -1).max(axis=0)
    here = np.take_along_axis(away, np.maximum(last, 0)[None], axis=0)[0]
    above = np.take_along_axis(away, np.maximum(last - 1, 0)[None], axis=0)[0]
    return (last >= 1) & (above > RATIO**2 * here)


def _away(tableau: Tableau, value: Array) -> tuple[Array, NDArray[np.int64]]:
    """|slope - value| times the step, to the power of the derivative, and the numbers of the rungs, shaped alike."""
    steps = np.stack(tableau.steps)[:, :, None]
    away = np.abs(np.stack([row[0] for row in tableau.values]) - value) * steps**tableau.power
    return np.where(np.isfinite(away), away, 0.0), np.arange(len(steps))[:, None, None]


def _slope_noise(tableau: Tableau) -> Array:
    """Standard deviation of each rung's slope, times the same."""
    steps = np.stack(tableau.steps)[:, :, None]
    return np.stack([row[0] for row in tableau.deviations]) * steps**tableau.power
