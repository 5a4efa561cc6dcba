"""Find inputs that were scaled by their extremes (min-max) or by their quartiles (robust scaling)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..moments.exact.sums import Floats
from .coincidence import chance_of_quartiles, lattice

INTERVALS = ((0.0, 1.0), (-1.0, 1.0))
_WITHIN = 1e-6  # of the width: what rounding to float32 leaves
QUARTILES_WITHIN = 1e-5
_MIN_COLUMNS = 3
_MIN_ENDS = 5  # distinct rows that hold an extreme: columns that are functions of each other share theirs


def exact_interval(minimum: Floats, maximum: Floats) -> tuple[float, float] | None:
    """The interval that every column fills to its ends."""
    for low, high in INTERVALS:
        near = _WITHIN * (high - low)
        if (np.abs(minimum - low) <= near).all() and (np.abs(maximum - high) <= near).all():
            return low, high
    return None


def was_put_there(x: Floats, interval: tuple[float, float]) -> bool:
    """Whether somebody scaled the columns to reach the ends, rather than nature.

    Bounded data reach their bounds in ties (pixels), on one grid for all columns (percentages, ranks), or in
    the same row (powers of one variable). Columns that were scaled each by its own extremes reach each end
    once, in rows of their own, and have grids of their own.
    """
    low, high = interval
    once = _reached_once(x, interval) & ~_decimal(x)
    if once.sum() < max(_MIN_COLUMNS, x.shape[1] / 2):
        return False
    if len({_levels(column, high - low) for column in x[:, once].T}) < max(_MIN_COLUMNS, once.sum() / 2):
        return False
    return rows_at_ends(x[:, once], interval, len(x)) >= _MIN_ENDS


def rows_at_ends(x: Floats, interval: tuple[float, float], samples: int) -> int:
    """How many different samples hold the only extreme of a column."""
    x = x[:, _reached_once(x, interval)]
    ends = np.concatenate([x.argmin(axis=0), x.argmax(axis=0)]) if x.size else np.zeros(0, dtype=int)
    return len(np.unique(ends // (len(x) // samples)))


def _reached_once(x: Floats, interval: tuple[float, float]) -> NDArray[np.bool_]:
    near = _WITHIN * (interval[1] - interval[0])
    at_low, at_high = (np.count_nonzero(np.abs(x - end) <= near, axis=0) for end in interval)
    return np.equal(at_low, 1) & np.equal(at_high, 1)


def exact_quartiles(x: Floats) -> NDArray[np.bool_]:
    """Columns of median 0 and interquartile range 1."""
    balanced = ((x < -QUARTILES_WITHIN).sum(axis=0) <= len(x) / 2) & (
        (x > QUARTILES_WITHIN).sum(axis=0) <= len(x) / 2
    )
    if balanced.any():  # only then is it worth sorting
        low, middle, high = np.quantile(x[:, balanced], (0.25, 0.5, 0.75), axis=0)
        balanced[balanced] = (np.abs(middle) <= QUARTILES_WITHIN) & (
            np.abs(high - low - 1) <= QUARTILES_WITHIN
        )
    return balanced


def chance_of_scaling(x: Floats, *, of_columns: int) -> float:
    """That the quartiles of these columns are exact by chance."""
    return chance_of_quartiles(x, within=QUARTILES_WITHIN, of_columns=of_columns)


def _decimal(x: Floats) -> NDArray[np.bool_]:
    """Columns of values with at most three decimals: grades, shares, percentages."""
    return np.asarray((np.abs(x * 1000 - np.round(x * 1000)) <= 1e-3).all(axis=0))


def _levels(column: Floats, width: float) -> tuple[int, float]:
    """Steps of the column's grid; of a continuous column, something of its own."""
    step = lattice(column)
    levels = (column - column.min()) / step if step else column
    on_grid = bool(step) and np.abs(levels - np.round(levels)).max() < 1e-2
    return (round(width / step), 0.0) if on_grid else (0, float(column.sum()))
