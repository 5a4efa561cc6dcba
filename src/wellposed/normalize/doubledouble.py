"""Numbers as an unevaluated sum of two float64: about 31 digits, element by element.

Two-sum is Knuth's, the product is Dekker's (T. J. Dekker, "A floating-point technique for extending the
available precision", Numer. Math. 18, 1971). Magnitudes must stay below about 2**900; `moments` scales its
columns so that they do.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Double: TypeAlias = tuple[Floats, Floats]
"""High part and low part; the high part is the sum rounded to float64."""

_SPLITTER = 134217729.0  # 2**27 + 1


def two_sum(a: Floats, b: Floats) -> Double:
    """``a + b`` without error, as sum and remainder."""
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)


def _halves(a: Floats) -> Double:
    shifted = _SPLITTER * a
    high = shifted - (shifted - a)
    return high, a - high


def two_product(a: Floats, b: Floats) -> Double:
    """``a * b`` without error, as product and remainder."""
    product = a * b
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    remainder = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, remainder


def add(x: Double, y: Double) -> Double:
    high, low = two_sum(x[0], y[0])
    low_sum, rest = two_sum(x[1], y[1])
    high, low = two_sum(high, low + low_sum)
    return two_sum(high, low + rest)


def subtract(x: Double, y: Double) -> Double:
    return add(x, (-y[0], -y[1]))


def times(x: Double, factor: Floats) -> Double:
    high, low = two_product(x[0], factor)
    return two_sum(high, low + x[1] * factor)


def over(x: Double, divisor: Floats) -> Double:
    quotient = x[0] / divisor
    product, remainder = two_product(quotient, divisor)
    return two_sum(quotient, ((x[0] - product) - remainder + x[1]) / divisor)
