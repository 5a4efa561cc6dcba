"""Means, variances, extremes and quartiles of columns by exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
from mpmath import mp

Column = list[Fraction]


def column(values: Any) -> Column:
    """The finite entries, exactly."""
    return [
        Fraction(float(v)) if np.asarray(v).dtype.kind == "f" else Fraction(int(v))
        for v in values
        if np.isfinite(v)
    ]


def mean(values: Any) -> float:
    c = column(values)
    return float(sum(c, Fraction(0)) / len(c))


def variance(values: Any) -> float:
    return float(exact_variance(values))


def exact_variance(values: Any) -> Fraction:
    c = column(values)
    m = sum(c, Fraction(0)) / len(c)
    return sum(((v - m) ** 2 for v in c), Fraction(0)) / len(c)


def std(values: Any) -> float:
    v = exact_variance(values)
    with mpmath.workdps(60):
        return float(mp.sqrt(mp.mpf(v.numerator) / v.denominator))


def quartiles(values: Any) -> tuple[float, float, float]:
    """The three quartiles with straight lines between the order statistics, as `numpy.percentile` has them."""
    c = sorted(column(values))
    out = []
    for q in (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)):
        at = q * (len(c) - 1)
        low = int(at)
        high = min(low + 1, len(c) - 1)
        out.append(float(c[low] + (at - low) * (c[high] - c[low])))
    return out[0], out[1], out[2]


def center_and_scale(values: Any, method: str) -> tuple[float, float]:
    """What each method subtracts and divides by; a constant column is divided by 1."""
    c = column(values)
    low, high = min(c), max(c)
    if method == "standard":
        center, scale = mean(values), std(values)
    elif method == "minmax":
        center, scale = float(low), float(high - low)
    elif method == "maxabs":
        center, scale = 0.0, float(max(abs(low), abs(high)))
    else:
        first, center, third = quartiles(values)
        scale = third - first
    return center, scale if scale else 1.0
