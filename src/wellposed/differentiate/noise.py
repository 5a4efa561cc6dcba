"""The noise level of a computed function, from difference tables.

Source: J. J. Moré and S. M. Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33 (2011), algorithm ECNoise.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial

import numpy as np
from numpy.typing import NDArray

POINTS = 7
"""Values in one difference table; Moré and Wild find six to eight enough."""
UNIT_ROUNDOFF = 2.0**-53


def noise_from_table(values: NDArray[np.float64]) -> float:
    """Standard deviation of the noise in equally spaced `values` of a function, shape ``(m,)``, ``m >= 5``.

    The k-th differences of white noise have variance ``(2k)!/(k!)^2`` times its own, while a smooth trend dies out in them. The
    first level whose estimate agrees with the next two within a factor of four is believed, and the largest of the three
    is taken, because too little noise makes a false alarm.
    """
    table = values - values[0]
    sigmas = []
    for k in range(1, len(values) - 1):
        table = np.diff(table)
        sigmas.append(float(np.sqrt(np.mean(table**2) * factorial(k) ** 2 / factorial(2 * k))))
    for k in range(1, len(sigmas) - 2):
        three = sigmas[k : k + 3]
        if max(three) <= 4 * min(three):
            return max(three)
    return max(sigmas[-2:])


def noise_along(
    value: Callable[[float], float], *, spacing: float, widest: float, first: float | None = None
) -> tuple[float, int]:
    """Noise of ``value(t)`` around ``t = 0``, and the number of evaluations it took.

    A function that computes in fewer digits than its argument has looks constant, and free of noise, at a tiny spacing:
    the spacing grows thousandfold until the values differ, at most to `widest`.
    """
    start = value(0.0) if first is None else first
    used = 0 if first is not None else 1
    while True:
        values = [start] + [value(spacing * i) for i in range(1, POINTS)]
        used += POINTS - 1
        distinct = len(set(values))
        if distinct > POINTS // 2 or spacing * 1000 > widest:
            finite = np.asarray([v for v in values if np.isfinite(v)], dtype=np.float64)
            return (noise_from_table(finite) if len(finite) == POINTS else 0.0), used
        spacing *= 1000
