"""Sparse matrices of SciPy and torch: exact moments, zeros included, and scaling, without filling in a zero."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import told
from ..data.batches import as_array, is_sparse, is_tensor, rows_of
from ..errors import ArgumentError, DataError
from ..lazy import lazy
from .column_moments import ColumnMoments
from .exact.accumulator import Accumulator, ColumnSums
from .reduction import moments_of, precision_of, sums_of_columns

torch_tensors = lazy("wellposed.runtime.torch.tensors")

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, kw_only=True, eq=False)
class SparseEntries:
    """The stored entries of a sparse matrix, each place once."""

    kind: str
    """What holds it, in words."""
    dense: str
    """What to give instead, in words."""
    shape: tuple[int, int]
    column: NDArray[Any]
    """Of each entry."""
    values: NDArray[Any]


def entries_of(data: Any, what: str = "the data") -> SparseEntries | None:
    """The entries of a sparse matrix, or of the inputs of a pair ``(matrix, targets)``; None for anything else."""
    if isinstance(data, tuple) and len(data) == 2:
        inputs, targets = data
        entries = None if isinstance(inputs, tuple) else entries_of(inputs, "the inputs")
        if entries is not None and targets is not None and rows_of(targets) != entries.shape[0]:
            raise DataError(
                f"a tuple is a pair (inputs, targets), and these have {entries.shape[0]} and {rows_of(targets)} rows"
            )
        return entries
    if is_sparse(data):
        return _of_scipy(data, what)
    if not is_tensor(data):
        return None
    return _of_tensor(data, what) if torch_tensors.is_sparse_tensor(data) else None


def check_axis(axis: Any, mask: Any, entries: SparseEntries) -> None:
    """Refuse what is for dense arrays."""
    given = {} if axis in (None, 1, -1, (1,), (-1,)) else {"axis": axis}
    for name, value in given.items() if mask is None else [("mask", mask)]:
        raise ArgumentError(
            f"{name} is {told(value)}, for dense arrays, and a sparse {entries.kind} has its statistics by column: "
            f"leave {name} out"
        )


def reduce_sparse(
    entries: SparseEntries, *, covariance: bool = False, quantiles: bool = False
) -> ColumnMoments:
    """Moments of all entries, those that are not stored too.

    Raises
    ------
    DataError
        When a covariance or quantiles are asked for, or there is no column.

    Examples
    --------
    >>> import scipy.sparse
    >>> entries = entries_of(scipy.sparse.csr_matrix([[0.0, 4.0], [0.0, 0.0]]))
    >>> reduce_sparse(entries).mean.tolist()
    [0.0, 2.0]
    """
    if covariance or quantiles:
        what = "a covariance" if covariance else "quantiles"
        raise DataError(f"{what} of a sparse {entries.kind} cannot be kept: give {entries.dense}")
    rows, columns = entries.shape
    if columns == 0:
        raise DataError(f"the data has shape {entries.shape}: expected at least one column")
    stored = np.bincount(entries.column, minlength=columns)
    sums, unread = _sums(entries, stored)
    has_zeros = stored < rows
    return moments_of(
        replace(
            sums,
            minimum=np.where(has_zeros, np.minimum(sums.minimum, 0), sums.minimum),
            maximum=np.where(has_zeros, np.maximum(sums.maximum, 0), sums.maximum),
        ),
        entries=rows + unread,
        lost=-unread,
        shape=(columns,),
        rows=rows,
        precision=precision_of(entries.values.dtype),
    )


def _sums(entries: SparseEntries, stored: NDArray[np.int64]) -> tuple[ColumnSums, NDArray[np.int64]]:
    """The sums of each column, and how many NaN were added to it.

    Columns that store about as many entries are summed together: as one table they are at least a quarter full.
    """
    values = entries.values[np.argsort(entries.column, kind="stable")]
    ends = np.cumsum(stored)
    magnitude = (np.frexp(stored)[1] + 1) // 2
    accumulator, unread = Accumulator(len(stored)), np.zeros(len(stored), dtype=np.int64)
    for size in np.unique(magnitude[stored > 0]):
        places = np.flatnonzero(magnitude == size)
        part, unread[places] = sums_of_columns(
            [values[ends[i] - stored[i] : ends[i]] for i in places], stored[places]
        )
        accumulator.add_sums(part, places.tolist())
    return accumulator.sums(), unread


def some_rows(matrix: Any) -> Callable[[NDArray[np.intp]], Any]:
    """From numbers of rows to these rows of a sparse matrix or tensor, as sparse as it is."""
    if is_tensor(matrix):
        return torch_tensors.rows_of_sparse(matrix)
    by_rows = canonical(matrix)
    return lambda rows: by_rows[rows]


def filled_in(matrix: Any) -> NDArray[Any]:
    """A sparse matrix or tensor as a dense array."""
    return as_array(matrix.to_dense() if is_tensor(matrix) else matrix.toarray())


def canonical(matrix: Any) -> Any:
    """A matrix of SciPy by rows, in which each place is stored once."""
    rows = matrix.tocsr()
    if rows.has_canonical_format:
        return rows
    rows = rows.copy()
    rows.sum_duplicates()
    return rows


def _of_scipy(matrix: Any, what: str) -> SparseEntries:
    _check_form(matrix.ndim, matrix.dtype, what)
    by_rows = canonical(matrix)
    return SparseEntries(
        kind=type(matrix).__name__,
        dense="a dense array, as .toarray() gives",
        shape=tuple(by_rows.shape),
        column=by_rows.indices,
        values=by_rows.data,
    )


def _of_tensor(tensor: Any, what: str) -> SparseEntries:
    coalesced = torch_tensors.coalesced(tensor)
    values = torch_tensors.to_numpy(coalesced.values(), what=what)
    _check_form(tensor.ndim if coalesced.dense_dim() == 0 else 0, values.dtype, what)
    return SparseEntries(
        kind=f"{tensor.layout} tensor",
        dense="a dense one, as .to_dense() gives",
        shape=tuple(tensor.shape),
        column=torch_tensors.to_numpy(coalesced.indices()[1]),
        values=values,
    )


def _check_form(ndim: int, dtype: Any, what: str) -> None:
    if ndim != 2:
        raise DataError(f"{what} is sparse, of {ndim} dimensions: expected a matrix (rows, columns)")
    if dtype.kind not in "biuf":
        raise DataError(f"{what} has dtype {dtype}: expected real numbers")
