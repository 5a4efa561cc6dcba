"""The exact moments of stored numbers, and how many digits of them a result has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

CORRECTLY_ROUNDED = 15.95
"""What the float64 nearest to the true value is given: float64 holds 15.95 digits."""
CAP = 15.0
"""What any other result is given at most."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Exact moments of the finite entries of one column."""

    count: int
    missing: int
    infinite: int
    mean: Fraction
    variance: Fraction
    """Divided by `count`."""

    @cached_property
    def std(self) -> Fraction:
        return root(self.variance)


def truth_of(column: NDArray[Any]) -> Truth:
    """The moments of a column in rational arithmetic, its infinite and missing entries set apart.

    Examples
    --------
    >>> truth_of(np.array([0.5, 1.5, np.nan])).variance
    Fraction(1, 4)
    """
    finite = np.isfinite(column)
    missing = int(np.isnan(column).sum())
    integers, exponent = as_integers(column[finite])
    count = len(integers)
    if count == 0:
        raise ValueError("no finite entry: expected a column that has a mean")
    total, squares = sum(integers), sum(one * one for one in integers)
    unit = Fraction(2) ** exponent
    return Truth(
        count=count,
        missing=missing,
        infinite=column.size - count - missing,
        mean=Fraction(total, count) * unit,
        variance=Fraction(count * squares - total * total, count * count) * unit * unit,
    )


def as_integers(column: NDArray[Any]) -> tuple[list[int], int]:
    """Integers and one exponent, with ``column == integers * 2**exponent`` exactly."""
    if column.dtype.kind != "f":
        return [int(one) for one in column], 0
    fraction, exponent = np.frexp(column.astype(np.float64))
    exponent = exponent.astype(np.int64) - 53
    lowest = int(exponent.min(initial=0))
    integers = np.ldexp(fraction, 53).astype(np.int64).tolist()
    return [one << shift for one, shift in zip(integers, (exponent - lowest).tolist(), strict=True)], lowest


def root(value: Fraction) -> Fraction:
    """The square root of a fraction, to 200 bits or more.

    Examples
    --------
    >>> root(Fraction(9, 4))
    Fraction(3, 2)
    """
    bits = 200 + max(0, value.denominator.bit_length() - value.numerator.bit_length())
    return Fraction(math.isqrt((value.numerator << 2 * bits) // value.denominator), 1 << bits)


def digits(found: float, true: Fraction) -> float:
    """Log relative error: the number of correct significant digits, between 0 and 15, or 15.95.

    Where the true value is 0 it is the log absolute error. NIST's measure (B. D. McCullough, Am. Stat. 52, 1998),
    except that a float64 cannot be nearer than the nearest one, which gets all of float64's digits.

    Examples
    --------
    >>> round(digits(0.3333, Fraction(1, 3)), 6)
    4.0
    >>> digits(1 / 3, Fraction(1, 3))
    15.95
    """
    if not math.isfinite(found):
        return 0.0
    if Fraction(found) == true or found == _nearest(true):
        return CORRECTLY_ROUNDED
    error = abs(Fraction(found) - true) / (abs(true) or 1)
    return min(CAP, max(0.0, -_log10(error)))


def _nearest(true: Fraction) -> float:
    try:
        return float(true)
    except OverflowError:
        return math.inf


def _log10(value: Fraction) -> float:
    """The logarithm of a fraction that may lie outside float64's range."""
    return math.log10(value.numerator) - math.log10(value.denominator)
