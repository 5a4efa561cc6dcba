"""How far the validation inputs are from the training inputs, with what chance alone would give."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..moments.column_moments import ColumnMoments
from ..moments.exact.sums import Floats
from ..moments.reduction import kept_axes
from .duplicates import distinct_records
from .result import SplitShift

_MIN_SAMPLES = 8
_MAX_SAMPLES = 4096  # of a split: enough to see any shift that the limits call large


def measure_shift(
    train: NDArray[Any],
    validation: NDArray[Any],
    train_moments: ColumnMoments,
    validation_moments: ColumnMoments,
) -> SplitShift | None:
    """None when a split has too few finite samples in some column."""
    scale = np.where(train_moments.constant, (train_moments | validation_moments).std, train_moments.std)
    a, b = _sample_means(train), _sample_means(validation)
    pairs = [(x[np.isfinite(x)], y[np.isfinite(y)]) for x, y in zip(a.T, b.T, strict=True)]
    samples = min(len(x) for x, _ in pairs), min(len(y) for _, y in pairs)
    if min(samples) < _MIN_SAMPLES:
        return None
    unit = np.where(scale > 0, scale, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        difference = np.array([y.mean() - x.mean() for x, y in pairs]) / unit
        error = np.sqrt([x.var() / (len(x) - 1) + y.var() / (len(y) - 1) for x, y in pairs]) / unit
    distance = np.array([_ks_distance(x, y) for x, y in pairs])
    return SplitShift(difference=difference, error=error, distance=distance, samples=samples)


def rows_to_compare(
    train: NDArray[Any], validation: NDArray[Any], targets: tuple[NDArray[Any], NDArray[Any]] | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Each record once, and the validation rows in the class shares of the training rows where both can be had.

    Inputs differ between classes, so classes that are balanced by a sampler on one side alone would look like a shift.
    """
    a, b = distinct_records(train), distinct_records(validation)
    if targets is not None and all(
        _are_classes(y, x) for y, x in zip(targets, (train, validation), strict=True)
    ):
        b = b[_in_shares_of(targets[0][a], targets[1][b])]
    return train[a], validation[b]


def _are_classes(y: NDArray[Any], rows: NDArray[Any]) -> bool:
    return y.ndim == 1 and y.dtype.kind in "iub" and len(y) == len(rows)


def _in_shares_of(train: NDArray[Any], validation: NDArray[Any]) -> NDArray[np.intp]:
    """Numbers of validation rows whose classes have the shares of the training rows; all rows where too few would be left."""
    classes, counts = np.unique(train, return_counts=True)
    shares = counts / counts.sum()
    members = [np.flatnonzero(validation == c) for c in classes]
    size = min(len(m) / share for m, share in zip(members, shares, strict=True))
    if size < _MIN_SAMPLES:
        return np.arange(len(validation))
    chosen = [m[: round(size * share)] for m, share in zip(members, shares, strict=True)]
    return np.sort(np.concatenate(chosen))


def _sample_means(x: NDArray[Any]) -> Floats:
    """One row a sample, evenly drawn; entries of a sample depend on each other, and count once."""
    x = x[:: -(-len(x) // _MAX_SAMPLES)]
    kept = kept_axes(x.ndim, None)
    if not kept:
        return x.reshape(-1, 1).astype(np.float64)
    within = tuple(a for a in range(1, x.ndim) if a not in kept)
    return x.mean(axis=within, dtype=np.float64) if within else x.astype(np.float64)


def _ks_distance(a: Floats, b: Floats) -> float:
    a, b = np.sort(a), np.sort(b)
    places = np.sort(np.concatenate([a, b]))  # in order, so that each search starts in the cache
    below_a, below_b = (np.searchsorted(x, places, side="right") / len(x) for x in (a, b))
    return float(np.abs(below_a - below_b).max())
