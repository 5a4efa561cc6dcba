"""Rows that count several times: exactly what repeating them gives, at the cost of reading each a few times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import told
from ..data.batches import as_array, whole_array
from ..errors import ArgumentError, DataError
from .column_moments import ColumnMoments
from .reduction import as_columns, kept_axes, reduce_batch
from .sparse import check_axis, entries_of, reduce_sparse, some_rows

_MOST = 1 << 62  # entries that are counted
_EXPECTED = "whole numbers from 0 on, one a row"

Weights = NDArray[np.int64]


def reduce_weighted(data: Any, sample_weight: Any, *, mask: Any = None, **options: Any) -> ColumnMoments:
    """Moments of one array or sparse matrix whose rows count by `sample_weight`; see `Moments.of`."""
    inputs = data[0] if isinstance(data, tuple) and len(data) == 2 else data
    entries = entries_of(data)
    if entries is not None:
        weights = _checked(sample_weight, rows=entries.shape[0], entries=entries.shape[1])
        check_axis(options.get("axis"), mask, entries)
        take = some_rows(inputs)
        return weighted(lambda some: _of_sparse(take(some), **options), weights)
    array = whole_array(data)
    if array is None or isinstance(data, Mapping):
        raise ArgumentError(
            f"sample_weight is for one array, tensor or sparse matrix in memory, found {told(inputs)}: repeat rows "
            "of batches, or put them into one array"
        )
    rows = array.shape[0]
    weights = _checked(sample_weight, rows=rows, entries=array.size // max(rows, 1))
    covers = None if mask is None else as_array(mask, "mask")
    if covers is not None and covers.shape[0] != rows:
        raise ArgumentError(
            f"mask has shape {covers.shape}, and the data have {rows} rows: expected one for each"
        )

    def moments_of_rows(some: NDArray[np.intp]) -> ColumnMoments:
        return reduce_batch(array[some], mask=None if covers is None else covers[some], **options)

    every = np.ones(rows, dtype=bool) if covers is None else covers
    return _with_quantiles(weighted(moments_of_rows, weights), array, weights, every, **options)


def _of_sparse(matrix: Any, *, axis: Any = None, **options: Any) -> ColumnMoments:
    entries = entries_of(matrix)
    assert entries is not None
    return reduce_sparse(entries, **options)


def _with_quantiles(
    moments: ColumnMoments,
    array: NDArray[Any],
    weights: Weights,
    covers: NDArray[Any],
    *,
    axis: Any,
    **options: Any,
) -> ColumnMoments:
    """Quantiles of few different entries are exact, however often these count."""
    if moments.sketches is None or not options.get("quantiles"):
        return moments
    kept = kept_axes(array.ndim, axis)
    along = [1] * (array.ndim - 1)
    often = weights.reshape(-1, *along) * covers.reshape(*covers.shape, *along[covers.ndim - 1 :])
    counts = as_columns(np.broadcast_to(often, array.shape), kept)
    return replace(
        moments, sketches=moments.sketches.counting(list(as_columns(array, kept).T), list(counts.T))
    )


def _checked(weight: Any, *, rows: int, entries: int) -> Weights:
    """`weight` as whole numbers, one for each of `rows`, each of which holds `entries`."""
    try:
        numbers = as_array(weight, "sample_weight")
    except DataError:
        raise ArgumentError(f"sample_weight is {told(weight)}: expected {_EXPECTED}") from None
    if numbers.dtype.kind not in "iuf":
        raise ArgumentError(f"sample_weight has dtype {numbers.dtype}: expected {_EXPECTED}")
    if numbers.shape != (rows,):
        raise ArgumentError(
            f"sample_weight has shape {numbers.shape}, and the data have {rows} rows: expected {_EXPECTED}"
        )
    wrong = numbers[~np.isfinite(numbers) | (numbers < 0)]
    if wrong.size:
        raise ArgumentError(f"sample_weight holds {wrong[0]}: expected {_EXPECTED}")
    fractions = numbers[numbers != np.floor(numbers)]
    if fractions.size:
        raise ArgumentError(
            f"sample_weight holds {fractions[0]:g}: rows are counted exactly, so expected {_EXPECTED}; multiply "
            "fractions by one number and round them, such as np.rint(1000 * sample_weight)"
        )
    if sum(map(int, numbers.tolist())) * max(entries, 1) >= _MOST:
        raise ArgumentError("sample_weight counts 2**62 entries or more: divide the weights by one number")
    if not numbers.any():
        raise ArgumentError("sample_weight is zero in every row: expected one row that counts")
    return numbers.astype(np.int64)


def weighted(moments_of_rows: Callable[[NDArray[np.intp]], ColumnMoments], weights: Weights) -> ColumnMoments:
    """Moments of rows that count by their weights, given a function from numbers of rows to their moments.

    By Horner's rule in the binary digits of the weights: moments that are merged with themselves count twice.

    Examples
    --------
    >>> x = np.array([[1.0], [5.0]])
    >>> weighted(lambda rows: reduce_batch(x[rows]), np.array([3, 1])).mean.tolist()
    [2.0]
    """
    total = ColumnMoments.empty()
    for digit in reversed(range(int(weights.max()).bit_length())):
        total = total | total
        rows = np.flatnonzero(weights >> digit & 1)
        if rows.size:
            total = total | moments_of_rows(rows)
    return total
