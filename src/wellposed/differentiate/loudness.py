"""Whether the noise is louder than thought: what the ladder shows of it, above and below its best rung.

What parts a slope from the answer, times its step, falls as step^3 for a smooth f, as step beside a kink, and keeps its size
where it is noise. All arrays have the shape (lines, outputs).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .tableau import RATIO, Entry, Tableau

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

CLEAR = 8.0
"""Standard deviations of the noise."""
ABRUPT = 64.0
"""A smooth approach passes through at least one rung that is nearer than this, in standard deviations of the noise."""
SPREAD = 4
"""Rungs over which noise must keep its size."""
FLAT = 0.6
"""Power of the step: 0 is noise, with a scatter of 0.4 over four rungs; 1 a kink, 3 a smooth function."""


def louder_below(tableau: Tableau, best: Entry) -> Array:
    """How much louder than thought the noise is, from the best entry's column below it: there only noise parts it from the answer."""
    total, count = np.zeros_like(best.value), np.zeros(best.value.shape)
    for rung, (values, deviations) in enumerate(zip(tableau.values, tableau.deviations, strict=True)):
        value = np.take_along_axis(values, best.column[None], axis=0)[0]
        deviation = np.take_along_axis(deviations, best.column[None], axis=0)[0]
        seen = np.maximum(np.abs(value - best.value) - best.error, 0.0) / deviation
        below = (rung > best.rung) & np.isfinite(seen)
        total += np.where(below, seen, 0.0) ** 2
        count += below
    return np.where(count >= 2, np.maximum(np.sqrt(total / np.maximum(count, 1)), 1.0), 1.0)


def louder_above(tableau: Tableau, best: Entry) -> Array:
    """The same at steps above the best one, where the smallest steps hide it.

    An inner term of few digits stands still over a tiny step, and what is left of f moves smoothly: (c + sin x) - c + x in
    float32 has the slope 1 there. Over larger steps its roundings show. They end abruptly, as no smooth f does; and so does a kink
    beside x, but that one bends f by as much as it changes the slope.
    """
    away, rungs = _away(tableau, best.value)
    deviations = _slope_noise(tableau)
    clear = (away > CLEAR * deviations) & (rungs < best.rung)
    last = np.where(clear, rungs, -1).max(axis=0)
    places = np.maximum(last - np.arange(3)[:, None, None], 0)
    steps = np.stack(tableau.steps)[:, :, None]
    bends = np.abs(np.nan_to_num(np.stack(tableau.jumps.bends)))
    slopes_apart = np.take_along_axis(away / steps, places, axis=0).sum(axis=0)
    bent = np.take_along_axis(bends / steps, places, axis=0).sum(axis=0)
    here = np.take_along_axis(away, places[:1], axis=0)[0]
    louder = here / np.take_along_axis(deviations, places[:1], axis=0)[0]
    hidden = (last >= 1) & (louder > ABRUPT) & ~approached(tableau, best) & (bent < slopes_apart)
    return np.where(hidden, louder, 1.0)


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
    """|slope - value| times the step, and the numbers of the rungs, shaped alike."""
    steps = np.stack(tableau.steps)[:, :, None]
    away = np.abs(np.stack([row[0] for row in tableau.values]) - value) * steps
    return np.where(np.isfinite(away), away, 0.0), np.arange(len(steps))[:, None, None]


def _slope_noise(tableau: Tableau) -> Array:
    """Standard deviation of each rung's slope, times the step."""
    return np.stack([row[0] for row in tableau.deviations]) * np.stack(tableau.steps)[:, :, None]
