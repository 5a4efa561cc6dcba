"""The noise of a computed function: from difference tables before any derivative is taken, and from the ladder afterwards.

The difference tables are those of J. J. Moré and S. M. Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33 (2011), algorithm
ECNoise. The ladder shows whether that noise was underestimated: the distance between a slope and the answer, times the step, falls as
step^3 for a smooth f and as step beside a kink, and keeps its size where it is noise. Arrays of the ladder have the shape (lines, outputs).
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .richardson import CLEAR, RATIO, Tableau, TableEntry

Array = NDArray[np.float64]

POINTS = 7
"""Values in one difference table; Moré and Wild find six to eight enough."""
UNIT_ROUNDOFF = 2.0**-53


def noise_from_table(values: Array) -> float:
    """Standard deviation of the noise in equally spaced `values` of a function, shape ``(m,)``, ``m >= 5``.

    The k-th differences of white noise have variance ``(2k)!/(k!)^2`` times its own, while a smooth trend dies out in them. The
    first level whose estimate agrees with the next two within a factor of four is used, and the largest of the three
    is the result, because an underestimate leads to false alarms.
    """
    return float(noise_from_tables(values[:, None])[0])


def noise_from_tables(values: Array) -> Array:
    """`noise_from_table` of each column of `values`, shape ``(m, outputs)``."""
    table = values - values[0]
    sigmas = []
    for k in range(1, len(values) - 1):
        table = np.diff(table, axis=0)
        sigmas.append(np.sqrt(np.mean(table**2, axis=0) * factorial(k) ** 2 / factorial(2 * k)))
    found = np.maximum(sigmas[-1], sigmas[-2])
    # From the last to the first, so that the first level that agrees is used.
    for k in reversed(range(1, len(sigmas) - 2)):
        three = np.stack(sigmas[k : k + 3])
        largest = three.max(axis=0)
        found = np.where(largest <= 4 * three.min(axis=0), largest, found)
    return found


def noise_along(
    value: Callable[[float], float], *, spacing: float, widest: float, first: float | None = None
) -> tuple[float, int]:
    """Noise of ``value(t)`` around ``t = 0``, and the number of evaluations it took.

    A function that computes in fewer digits than its argument has looks constant, and free of noise, at a tiny spacing:
    the spacing grows thousandfold until the values differ, at most to `widest`.
    """
    start = value(0.0) if first is None else first
    used = 0 if first is not None else 1

    def values(ts: Array) -> Array:
        nonlocal used
        used += len(ts) - 1
        return np.array([[start], *([value(float(t))] for t in ts[1:])])

    sigma = noises_along(values, np.arange(POINTS), spacing=spacing, widest=widest, growth=1000.0)
    return float(sigma[0]), used


def noises_along(
    values: Callable[[Array], Array], places: NDArray[Any], *, spacing: float, widest: float, growth: float
) -> Array:
    """`noise_along` of a function with several outputs: ``values(ts)``, at `places` times the spacing, is of shape (len(ts), outputs).

    Each output takes its noise from the first spacing at which more than half of its values differ; 0 where they are not finite.
    `growth` is the factor between one spacing and the next one that is tried.
    """
    found: Array | float = 0.0
    waiting: Any = True
    while True:
        table = values(spacing * places)
        finite = np.isfinite(table).all(axis=0)
        with np.errstate(all="ignore"):
            sigmas = np.where(finite, noise_from_tables(np.where(finite, table, 0.0)), 0.0)
        found = np.where(waiting, sigmas, found)
        distinct = (np.diff(np.sort(table, axis=0), axis=0) != 0).sum(axis=0) + 1
        waiting = waiting & (distinct <= POINTS // 2)
        if not waiting.any() or abs(spacing) * growth > widest:
            return found
        spacing *= growth


Flags = NDArray[np.bool_]

WIDEST = 4.0
"""Standard deviations that noise hardly exceeds; rounding to a grid cannot."""
SPREAD = 4
"""Rungs over which noise must keep its size."""
FLAT = 0.6
"""Largest power of the step that counts as 0, which is noise, with a scatter of 0.4 over four rungs; 1 is a kink, 3 a smooth function."""


def noise_factor_below(tableau: Tableau, best: TableEntry) -> Array:
    """By what factor the noise is underestimated, from the entries below the best one in its column: only noise separates them from it."""
    seen, count = _deviations_below(tableau, best)
    rms = np.sqrt((seen**2).sum(axis=0) / np.maximum(count, 1))
    return np.where(count >= 2, np.maximum(rms, 1.0), 1.0)


def within_noise_below(tableau: Tableau, best: TableEntry) -> Flags:
    """Whether the entries below the best one in its column, two at least, differ from it by no more than noise."""
    seen, count = _deviations_below(tableau, best)
    return (count >= 2) & (seen.max(axis=0) < WIDEST)


def slopes_agree_below(tableau: Tableau, best: TableEntry) -> Flags:
    """Whether the slopes of the three rungs below the best entry differ from it by no more than noise."""
    away, rungs = _distance_from(tableau, best.value)
    near = (rungs > best.rung) & (rungs <= best.rung + 3)
    return np.asarray(~(near & (away > WIDEST * _slope_noise(tableau))).any(axis=0))


def _deviations_below(tableau: Tableau, best: TableEntry) -> tuple[Array, Array]:
    """The distance of each entry below the best one in its column from it, in standard deviations of noise; and the number of such entries."""
    rungs = np.arange(len(tableau.steps))[:, None, None]
    column = best.column[None, None]
    values = np.take_along_axis(np.stack(tableau.values), column, axis=1)[:, 0]
    deviations = np.take_along_axis(np.stack(tableau.deviations), column, axis=1)[:, 0]
    seen = np.maximum(np.abs(values - best.value) - best.error, 0.0) / deviations
    below = (rungs > best.rung) & np.isfinite(seen)
    return np.where(below, seen, 0.0), below.sum(axis=0)


def looks_like_noise(tableau: Tableau, best: TableEntry) -> Flags:
    """Whether the distance of the slopes below the best entry from it, times the step, is the same at every step.

    Near a pole it grows as the steps shrink.
    """
    away, rungs = _distance_from(tableau, best.value)
    below = rungs > best.rung
    peak = np.where(below, away, -1.0).argmax(axis=0)
    used = below & (rungs <= peak) & (away > 0)
    count = used.sum(axis=0)
    y = np.where(used, np.log(np.where(used, away, 1.0)) / np.log(RATIO), 0.0)
    t = np.where(used, rungs - (used * rungs).sum(axis=0) / np.maximum(count, 1), 0.0)
    power = (t * y).sum(axis=0) / np.maximum((t * t).sum(axis=0), 1e-300)
    return (count < SPREAD) | (np.abs(power) < FLAT)


def approached_smoothly(tableau: Tableau, best: TableEntry) -> Flags:
    """Whether the slopes above the best entry approach it like those of a smooth f, with the square of the step."""
    away, rungs = _distance_from(tableau, best.value)
    clear = (away > CLEAR * _slope_noise(tableau)) & (rungs < best.rung)
    last = np.where(clear, rungs, -1).max(axis=0)
    here = np.take_along_axis(away, np.maximum(last, 0)[None], axis=0)[0]
    above = np.take_along_axis(away, np.maximum(last - 1, 0)[None], axis=0)[0]
    return (last >= 1) & (above > RATIO**2 * here)


def _distance_from(tableau: Tableau, value: Array) -> tuple[Array, NDArray[np.int64]]:
    """|slope - value| times the step, to the power of the derivative, and the numbers of the rungs, shaped alike."""
    steps = np.stack(tableau.steps)[:, :, None]
    away = np.abs(np.stack([row[0] for row in tableau.values]) - value) * steps**tableau.power
    return np.where(np.isfinite(away), away, 0.0), np.arange(len(steps))[:, None, None]


def _slope_noise(tableau: Tableau) -> Array:
    """Standard deviation of the noise of each rung's slope, times the step to the power of the derivative."""
    steps = np.stack(tableau.steps)[:, :, None]
    return np.stack([row[0] for row in tableau.deviations]) * steps**tableau.power
