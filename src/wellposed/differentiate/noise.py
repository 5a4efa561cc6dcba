"""The noise level of a computed function, from difference tables.

Source: J. J. Moré and S. M. Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33 (2011), algorithm ECNoise.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

POINTS = 7
"""Values in one difference table; Moré and Wild find six to eight enough."""
UNIT_ROUNDOFF = 2.0**-53


def noise_from_table(values: Array) -> float:
    """Standard deviation of the noise in equally spaced `values` of a function, shape ``(m,)``, ``m >= 5``.

    The k-th differences of white noise have variance ``(2k)!/(k!)^2`` times its own, while a smooth trend dies out in them. The
    first level whose estimate agrees with the next two within a factor of four is believed, and the largest of the three
    is taken, because too little noise makes a false alarm.
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
    # From the last to the first, so that the first level that agrees has the last word.
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
