"""Exact Σx, Σx² and Σxy of columns in NumPy: the same sums as `kernel`, where numba is not worth loading.

Each column is scaled below 1 by a power of two and cut into digits of 21 or 22 bits until nothing is left.
Sums of 1,024 products of two digits stay below 2**53 units of their last place, so float64 adds them without
rounding, in whatever order (K. Ozaki, T. Ogita, S. Oishi and S. M. Rump, Numer. Algorithms 59, 2012).
Covariances are made of `Products`, over the rows that are complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rounding import nearest
from .sums import SQUARE_BIAS, VALUE_BIAS, Digits, ExactSums, Floats, total

ROWS = 1024
FIRST, NEXT = 21, 22  # bits: 2 * 21 + log2(1024) = 52; rounding to nearest saves a bit from the second on
BAND = 60  # bits between the largest and the least entry that are cut together


class Digit(NamedTuple):
    """A part ``values * 2**exponent`` of the entries; ``(rows, columns)`` and ``(columns,)``."""

    values: Floats
    exponent: Digits


def split(x: Floats) -> list[Digit]:
    """Digits that add up to the entries of ``(rows, columns)``: at most `ROWS` rows, all finite."""
    digits: list[Digit] = []
    rest = x
    while rest.any():
        exponent = np.frexp(np.abs(rest).max(axis=0))[1].astype(np.int64)
        band = np.abs(rest) >= np.ldexp(1.0, exponent - BAND)
        digits += [Digit(values, exponent) for values in _cut(np.ldexp(np.where(band, rest, 0.0), -exponent))]
        rest = np.where(band, 0.0, rest)
    return digits


def _cut(y: Floats) -> list[Floats]:
    digits, place = [], FIRST
    while y.any():
        constant = np.ldexp(1.5, 52 - place)
        digits.append((y + constant) - constant)
        y = y - digits[-1]
        place += NEXT
    return digits


def sum_values(digits: list[Digit], columns: int) -> ExactSums:
    """Σx of each column."""
    return total([(d.values.sum(axis=0), d.exponent) for d in digits], columns, bias=VALUE_BIAS)


def sum_squares(digits: list[Digit], columns: int) -> ExactSums:
    """Σx² of each column."""
    terms = [
        ((1 + (i < j)) * np.einsum("ij,ij->j", a.values, b.values), a.exponent + b.exponent)
        for i, a in enumerate(digits)
        for j, b in enumerate(digits[i:], start=i)
    ]
    return total(terms, columns, bias=SQUARE_BIAS)


def sum_products(digits: list[Digit], columns: int) -> ExactSums:
    """Σxy of each pair of columns, row by row of the matrix: ``columns * columns`` sums."""
    terms = [
        ((a.values.T @ b.values).ravel(), np.add.outer(a.exponent, b.exponent).ravel())
        for a in digits
        for b in digits
    ]
    return total(terms, columns * columns, bias=SQUARE_BIAS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Products:
    """Σx of each column and Σxy of each pair, over complete rows."""

    rows: int
    """How many rows were complete: no NaN, no infinity."""
    values: ExactSums
    products: ExactSums
    """``columns * columns`` sums."""

    @staticmethod
    def zero(columns: int) -> Products:
        return Products(
            rows=0,
            values=ExactSums.zero(columns, bias=VALUE_BIAS),
            products=ExactSums.zero(columns * columns, bias=SQUARE_BIAS),
        )

    def __or__(self, other: Products) -> Products:
        return Products(
            rows=self.rows + other.rows,
            values=self.values + other.values,
            products=self.products + other.products,
        )

    def covariance(self) -> Floats:
        """Population covariance, each entry rounded once; NaN without complete rows."""
        values, products, n = self.values.integers(), self.products.integers(), self.rows
        columns = len(values)
        if n == 0:
            return np.full((columns, columns), np.nan)
        out = np.empty((columns, columns))
        scale = n * n << SQUARE_BIAS
        for i in range(columns):
            for j in range(i, columns):
                out[i, j] = out[j, i] = nearest(n * products[i * columns + j] - values[i] * values[j], scale)
        return out


def products_of(x: NDArray[np.floating]) -> Products:
    """Of ``(rows, columns)``."""
    total = Products.zero(x.shape[1])
    for start in range(0, len(x), ROWS):
        block = x[start : start + ROWS].astype(np.float64)
        block = block[np.isfinite(block).all(axis=1)]
        digits = split(block)
        total = total | Products(
            rows=len(block),
            values=sum_values(digits, block.shape[1]),
            products=sum_products(digits, block.shape[1]),
        )
    return total
