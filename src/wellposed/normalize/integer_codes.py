"""Integers that are codes rather than amounts, told by the exact moments of the whole column."""

from __future__ import annotations

from collections.abc import Sequence

from ..moments.column_moments import ColumnMoments

FEW = 16
"""Integers that span fewer values than this are taken for classes, levels or flags."""


def codes_among(m: ColumnMoments, names: Sequence[str] | None, integers: Sequence[bool]) -> dict[int, str]:
    """Columns of codes by number, and why; arrays without names have none.

    A column is one of codes when it is stored as integers and spans fewer than 16 values, or when it is a
    row number: a permutation of consecutive integers has as many entries as it spans values, and the
    variance (n² - 1)/12.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.arange(100)
    >>> from wellposed import Moments
    >>> m = Moments.of(np.stack([rows, rows % 3, rows**2], axis=1))
    >>> codes_among(m, ["id", "class", "area"], [True, True, True])
    {0: 'a row number, 0 to 99', 1: 'integers from 0 to 2'}
    """
    if names is None:
        return {}
    found = {i: _why(m, i) for i, stored in enumerate(integers) if stored and m.count.flat[i]}
    return {i: why for i, why in found.items() if why}


def _why(m: ColumnMoments, i: int) -> str:
    low, high, n = int(m.minimum.flat[i]), int(m.maximum.flat[i]), int(m.count.flat[i])
    if high - low < FEW:
        return f"integers from {low} to {high}" if high > low else f"one integer, {low}"
    # Both sides are the exact value, rounded once.
    if n == high - low + 1 and m.variance.flat[i] == (n * n - 1) / 12:
        return f"a row number, {low} to {high}"
    return ""
