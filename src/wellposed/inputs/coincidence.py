"""How probable it is that data which nobody normalised look as if somebody had.

All chances are for data whose population has just the statistics in question (mean 0 and std 1), which makes
coincidence as easy as it can be. A sample of an image or a sequence counts once: its entries depend on each
other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..moments.exact.sums import Floats

_ROUNDING = 1e-9  # float64 statistics are no closer than this to anything, for the sake of the argument
_MAX_CORRELATED = 512
_MAX_SORTED = 1 << 16
_PEAK = 1 / math.sqrt(2 * math.pi)  # of the normal density, times its std


def chance_of_moments(
    x: Floats, *, samples: int, mean_within: float, std_within: float, of_columns: int
) -> float:
    """That means and stds of all columns are this near to 0 and 1, in as many of `of_columns` columns.

    Parameters
    ----------
    x
        As ``(entries, columns)``, the entries of a sample beside each other.
    """
    first, second = sample_means(x, samples), sample_means(x * x, samples)
    grid = [lattice(column) for column in x.T], [lattice(column**2) for column in x.T]
    # On a grid of step h the mean of n entries is a multiple of h/n, and hits 0 exactly.
    near_mean = np.maximum(max(mean_within, _ROUNDING), np.array(grid[0]) / (2 * len(x)))
    near_std = np.maximum(max(std_within, _ROUNDING), np.array(grid[1]) / (4 * len(x)))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        errors = first.std(axis=0) / math.sqrt(samples), second.std(axis=0) / (2 * math.sqrt(samples))
        of_mean = np.fmin(1.0, 2 * _PEAK * near_mean / errors[0])
        of_std = np.fmin(1.0, 2 * _PEAK * near_std / errors[1])
        dependent = np.sqrt(1 - np.minimum(_correlation(first, second) ** 2, 1.0))
        each = np.fmin(
            of_mean, of_mean * of_std / dependent
        )  # fmin: a column that does not vary says nothing
    return shared(np.nan_to_num(each, nan=1.0), x, of_columns)


def chance_of_quartiles(x: Floats, *, within: float, of_columns: int) -> float:
    """That medians and interquartile ranges of all columns are this near to 0 and 1."""
    near = np.maximum(max(within, _ROUNDING), np.array([lattice(column) / 2 for column in x.T]))
    ordered = np.sort(x, axis=0)
    with np.errstate(divide="ignore"):
        errors = [_quantile_error(ordered, q) for q in (0.25, 0.5, 0.75)]
        of_median = np.minimum(1.0, 2 * _PEAK * near / errors[1])
        of_range = np.minimum(1.0, 2 * _PEAK * near / np.maximum(errors[0], errors[2]))
    return shared(of_median * of_range, x, of_columns)


def shared(each: Floats, x: Floats, of_columns: int) -> float:
    """The chance of all columns from those of each, over the independent ones, and any choice of columns."""
    columns = x.shape[1]
    log = float(np.log(np.maximum(each, 1e-300)).mean()) * effective_columns(x)
    return min(1.0, math.comb(max(of_columns, columns), columns) * math.exp(max(log, -700.0)))


def effective_columns(x: Floats) -> float:
    """How many independent columns these are worth: ``d² / ‖correlation‖²``."""
    x = x[:, :: max(1, x.shape[1] // _MAX_CORRELATED)]
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.nan_to_num((x - x.mean(axis=0)) / x.std(axis=0))
    return float(x.shape[1] ** 2 / max(((z.T @ z / len(z)) ** 2).sum(), 1.0))


def sample_means(x: NDArray[Any], samples: int) -> Floats:
    """One row a sample."""
    return x if samples == len(x) else x.reshape(samples, -1, x.shape[1]).mean(axis=1)


def lattice(column: Floats) -> float:
    """The smallest step between different values; next to nothing where they are continuous."""
    ordered = np.sort(column[:: max(1, len(column) // _MAX_SORTED)])
    steps = np.diff(ordered)
    steps = steps[steps > 1e-6 * (ordered[-1] - ordered[0])]
    return float(steps.min()) if len(steps) else 0.0


def _correlation(a: Floats, b: Floats) -> Floats:
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return (a * b).sum(axis=0) / np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))


def _quantile_error(ordered: Floats, q: float) -> Floats:
    """Standard error of a sample quantile: half the distance of the order statistics one std away."""
    n = len(ordered)
    reach = math.sqrt(n * q * (1 - q))
    low, high = max(0, math.floor(n * q - reach)), min(n - 1, math.ceil(n * q + reach))
    return (ordered[high] - ordered[low]) / 2
