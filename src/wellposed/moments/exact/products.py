"""Exact sums of products of columns, over the rows that are complete: what covariances are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import numpy_sums
from .rounding import nearest
from .sums import SQUARE_BIAS, VALUE_BIAS, ExactSums, Floats


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
    for start in range(0, len(x), numpy_sums.ROWS):
        block = x[start : start + numpy_sums.ROWS].astype(np.float64)
        block = block[np.isfinite(block).all(axis=1)]
        digits = numpy_sums.split(block)
        total = total | Products(
            rows=len(block),
            values=numpy_sums.sum_values(digits, block.shape[1]),
            products=numpy_sums.sum_products(digits, block.shape[1]),
        )
    return total
