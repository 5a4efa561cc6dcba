"""Arrays to moments: any dtype, strides and axes, on every core; tensors on an accelerator, and pieces of files and tables."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import refused
from ..data.batches import is_tensor
from ..data.source import Piece
from ..errors import ArgumentError, DataError
from ..lazy import lazy
from .column_moments import ColumnMoments, named
from .exact.accumulator import Accumulator, ColumnSums, cores, is_worth_compiling
from .exact.numpy_sums import Products, products_of
from .quantiles import Sketches

torch_sums = lazy("wellposed.moments.exact.torch_sums")

_EXACT = 1 << 53  # integers up to here are exact in float64
_CONVERTED = 1 << 17  # entries that are converted or copied at a time: they stay in a core's cache
_TASK = 1 << 22  # entries that are worth a thread
_SHARED = 1 << 16  # columns times threads: each takes two kilobytes
_STACKED = 1 << 15  # entries a column, of columns that are cheaper to add as one table
_RUN = 64  # entries of one column side by side, from which it is read by itself
_MOST_PAIRED = 2048  # columns of which a covariance is kept


def kept_axes(ndim: int, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """The axes that keep their own statistics: columns, channels of images, the last axis of sequences.

    Examples
    --------
    >>> kept_axes(2, None), kept_axes(4, None), kept_axes(3, None), kept_axes(3, -2)
    ((1,), (1,), (2,), (1,))
    """
    if ndim == 0:
        raise DataError("found a single number: expected an array with samples along its first axis")
    if axis is None:
        return () if ndim == 1 else (2,) if ndim == 3 else (1,)
    wanted = axis if isinstance(axis, tuple | list) else (axis,)
    kept = []
    for one in wanted:
        if isinstance(one, bool) or not isinstance(one, int | np.integer):
            raise refused("axis", one, "an integer or a tuple of integers")
        if not -ndim <= one < ndim:
            raise ArgumentError(f"axis={axis!r} is out of range for data of {ndim} dimensions")
        kept.append(int(one) % ndim)
    if 0 in kept:
        raise ArgumentError(
            f"axis={axis!r} keeps axis 0, which holds the samples: name the axes of the features"
        )
    if len(set(kept)) < len(kept):
        raise ArgumentError(f"axis={axis!r} names an axis twice")
    return tuple(sorted(kept))


def precision_of(dtype: np.dtype[Any]) -> float:
    """Relative spacing of a dtype's values as they are read; 0 where they are exact."""
    # Long doubles are rounded to float64.
    return max(float(np.finfo(dtype).eps), float(np.finfo(np.float64).eps)) if dtype.kind == "f" else 0.0


def reduce_batch(
    batch: NDArray[Any],
    *,
    axis: int | tuple[int, ...] | None = None,
    mask: NDArray[np.bool_] | None = None,
    covariance: bool = False,
    quantiles: bool = False,
) -> ColumnMoments:
    """Moments of one array whose first axis holds the samples; the options are those of `Moments.of`."""
    rows = None
    if mask is not None:
        rows, kept = len(batch), kept_axes(batch.ndim, axis)
        mask = _checked_mask(mask, batch, kept)
        batch, axis = batch[mask], tuple(a - mask.ndim + 1 for a in kept)
    reduction = Reduction(axis=axis, covariance=covariance, quantiles=quantiles)
    reduction.add(batch, rows=rows)
    return reduction.moments()


def reduce_columns(
    columns: Sequence[NDArray[Any]],
    *,
    rows: int,
    missing: Sequence[int] | None = None,
    covariance: bool = False,
    quantiles: bool = False,
) -> ColumnMoments:
    """Moments of one 1-d array a column; entries that were left out beforehand are counted in `missing`.

    With `covariance` nothing may have been left out.
    """
    if covariance and missing is not None and any(missing):
        raise ArgumentError("covariance needs whole rows: give missing entries as NaN")
    lost = np.zeros(len(columns), dtype=np.int64) if missing is None else np.array(missing, dtype=np.int64)
    entries = np.array([len(c) for c in columns], dtype=np.int64)
    sums, unread = sums_of_columns(columns, entries)
    dtypes = {c.dtype for c in columns}
    table = np.column_stack([c.astype(np.float64) for c in columns]) if covariance else None
    return moments_of(
        sums,
        entries=entries + unread,
        lost=lost - unread,
        shape=(len(columns),),
        rows=rows,
        precision=max((precision_of(d) for d in dtypes), default=0.0),
        products=None if table is None else products_of(table),
        sketches=Sketches.of(columns) if quantiles else None,
    )


def sums_of_columns(
    columns: Sequence[NDArray[Any]], entries: NDArray[np.int64]
) -> tuple[ColumnSums, NDArray[np.int64]]:
    """The sums of each column, and how many NaN were added to it."""
    total = int(entries.sum())
    accumulator = Accumulator(len(columns))
    if (total < _STACKED * len(columns) or not is_worth_compiling(total)) and not any(
        map(_beyond_float64, columns)
    ):
        unread = _add_stacked(accumulator, columns, entries)
    else:
        unread = np.zeros_like(entries)
        for i, column in enumerate(columns):
            _feed(accumulator, column, column=i)
    return accumulator.sums(), unread


def _add_stacked(
    accumulator: Accumulator, columns: Sequence[NDArray[Any]], entries: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Few entries as one table, which costs less than column by column; gives the NaN that fill it."""
    filled = np.flatnonzero(entries)
    height = int(entries.max(initial=0))
    table = np.full((height, len(filled)), np.nan)
    for i, column in enumerate(filled):
        table[: entries[column], i] = columns[int(column)]
    accumulator.add_sums(_sums_of(table), filled.tolist())
    return np.where(entries > 0, height - entries, 0)


class Reduction:
    """Moments of batches, added one after another; cheaper than merging the moments of each."""

    def __init__(
        self,
        *,
        axis: int | tuple[int, ...] | None = None,
        covariance: bool = False,
        quantiles: bool = False,
    ) -> None:
        self._axis, self._covariance, self._quantiles = axis, covariance, quantiles
        self._shape: tuple[int, ...] | None = None
        self._entries = self._rows = 0
        self._precision = 0.0

    def add(self, batch: NDArray[Any], *, rows: int | None = None) -> None:
        """Add an array whose first axis holds the samples; `rows` says how many, if not its length."""
        kept = kept_axes(batch.ndim, self._axis)
        shape = tuple(batch.shape[a] for a in kept) or (1,)
        self._start(shape, batch.shape)
        if batch.ndim != self._ndim:
            raise DataError(
                f"batches have {self._ndim} and {batch.ndim} dimensions: expected the same in every batch"
            )
        self._rows += len(batch) if rows is None else rows
        self._entries += batch.size // int(np.prod(shape))
        self._precision = max(self._precision, precision_of(batch.dtype))
        if batch.size == 0:
            return
        _feed_batch(self._accumulator, batch, kept)
        if self._covariance:
            self._products = self._products | products_of(as_columns(batch, kept))
        if self._quantiles:
            self._sketches = self._sketches | Sketches.of(list(as_columns(batch, kept).T))

    def moments(self) -> ColumnMoments:
        """Of everything that was added."""
        if self._shape is None:
            return ColumnMoments.empty()
        size = int(np.prod(self._shape))
        return moments_of(
            self._accumulator.sums(),
            entries=np.full(size, self._entries, dtype=np.int64),
            lost=np.zeros(size, dtype=np.int64),
            shape=self._shape,
            rows=self._rows,
            precision=self._precision,
            products=self._products if self._covariance else None,
            sketches=self._sketches if self._quantiles else None,
        )

    def _start(self, shape: tuple[int, ...], batch: tuple[int, ...]) -> None:
        if self._shape is not None and shape != self._shape:
            raise DataError(
                f"cannot merge moments of {named(self._shape)} with moments of {named(shape)}: every batch must "
                "have the same columns"
            )
        if self._shape is not None:
            return
        if 0 in shape:
            raise DataError(f"the data has shape {batch}: expected at least one column")
        columns = int(np.prod(shape))
        if self._covariance and columns > _MOST_PAIRED:
            raise DataError(
                f"a covariance of {columns} columns is not kept (limit {_MOST_PAIRED}): choose fewer"
            )
        self._shape, self._ndim = shape, len(batch)
        self._accumulator = Accumulator(columns)
        self._products = Products.zero(columns if self._covariance else 0)
        self._sketches = Sketches.empty(columns) if self._quantiles else Sketches([])


def moments_of(
    sums: ColumnSums,
    *,
    entries: NDArray[np.int64],
    lost: NDArray[np.int64],
    shape: tuple[int, ...],
    **parts: Any,
) -> ColumnMoments:
    """Moments of sums over `entries` a column, of which `lost` more were left out as missing."""
    count = entries - sums.missing - sums.infinite
    return ColumnMoments.made(
        count=count.reshape(shape),
        missing=(sums.missing + lost).reshape(shape),
        infinite=sums.infinite.reshape(shape),
        # Adding zero makes -0.0 into 0.0: which of the two came first must not show.
        minimum=(np.where(count > 0, sums.minimum, np.nan) + 0.0).reshape(shape),
        maximum=(np.where(count > 0, sums.maximum, np.nan) + 0.0).reshape(shape),
        values=sums.values,
        squares=sums.squares,
        **parts,
    )


def _checked_mask(mask: Any, batch: NDArray[Any], kept: tuple[int, ...]) -> NDArray[np.bool_]:
    if isinstance(mask, str | bytes):
        raise refused("mask", mask, "an array of booleans")
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.ndim == 0 or mask.shape != batch.shape[: mask.ndim]:
        raise ArgumentError(
            f"mask is {mask.dtype} of shape {mask.shape}: expected booleans of the leading axes of {batch.shape}"
        )
    if any(a < mask.ndim for a in kept):
        raise ArgumentError(f"mask of shape {mask.shape} covers axis {kept[0]}, which keeps its statistics")
    return mask


def _feed_batch(accumulator: Accumulator, batch: NDArray[Any], kept: tuple[int, ...]) -> None:
    """Add a batch: by columns where theirs lie in long runs, otherwise by rows, in threads when it is large."""
    inner = int(np.prod(batch.shape[kept[-1] + 1 :])) if len(kept) == 1 else 1
    if inner >= _RUN:
        for i in range(batch.shape[kept[0]]):
            _feed(accumulator, batch.take(i, axis=kept[0]).reshape(-1), column=i)
        return
    rows = as_columns(batch, kept)
    tasks = min(cores(), rows.size // _TASK, max(1, _SHARED // rows.shape[1]))
    if tasks < 2:
        _feed(accumulator, rows)
        return
    with ThreadPoolExecutor(tasks) as pool:
        for sums in pool.map(_sums_of, np.array_split(rows, tasks)):
            accumulator.add_sums(sums)


def _sums_of(rows: NDArray[Any]) -> ColumnSums:
    accumulator = Accumulator(rows.shape[1])
    _feed(accumulator, rows)
    return accumulator.sums()


def as_columns(batch: NDArray[Any], kept: tuple[int, ...]) -> NDArray[Any]:
    """The batch as ``(entries, columns)``."""
    if not kept:
        return batch.reshape(-1, 1)
    width = int(np.prod([batch.shape[a] for a in kept]))
    return np.moveaxis(batch, kept, range(-len(kept), 0)).reshape(-1, width)


def _feed(accumulator: Accumulator, x: NDArray[Any], *, column: int | None = None) -> None:
    """Add rows ``(entries, columns)``, or the entries of one column, in blocks of a dtype that holds them."""
    kind = _held_exactly(x.dtype)
    if _beyond_float64(x):
        accumulator.add_sums(_wide_integers(x), None if column is None else [column])
        return
    if x.ndim == 2 and x.flags.f_contiguous and not x.flags.c_contiguous:
        for i in range(x.shape[1]):
            _feed(accumulator, x[:, i], column=i)
        return
    as_it_is = x.dtype == kind and x.flags.c_contiguous and x.flags.aligned
    step = max(1, len(x) if as_it_is else _CONVERTED // max(1, x[:1].size))
    for start in range(0, len(x), step):
        block = np.ascontiguousarray(x[start : start + step], dtype=kind)
        if column is None:
            accumulator.add(block)
        else:
            accumulator.add_column(column, block)


def _held_exactly(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The narrower of float32 and float64 that holds every value; long doubles are rounded to float64."""
    narrow = dtype.kind == "b" or dtype.itemsize <= (4 if dtype.kind == "f" else 2)
    return np.dtype(np.float32 if narrow else np.float64)


def _beyond_float64(x: NDArray[Any]) -> bool:
    return (
        x.dtype.kind in "iu"
        and x.dtype.itemsize == 8
        and x.size > 0
        and (int(x.max()) > _EXACT or int(x.min()) < -_EXACT)
    )


def _wide_integers(x: NDArray[Any]) -> ColumnSums:
    """Integers that float64 does not hold, as ``upper * 2**32 + lower``.

    Their squares need ``2 * upper * lower``, which is ``(upper + lower)² - upper² - lower²``.
    """
    rows = x.reshape(len(x), -1)
    upper = rows >> rows.dtype.type(32)
    lower = rows & rows.dtype.type(0xFFFFFFFF)
    high, low, mixed = (
        _sums_of(part.astype(np.float64)) for part in (upper, lower, upper.astype(np.float64) + lower)
    )
    cross = mixed.squares + -high.squares + -low.squares
    return ColumnSums(
        values=high.values.shifted(1) + low.values,
        squares=high.squares.shifted(2) + cross.shifted(1) + low.squares,
        missing=high.missing,
        infinite=high.infinite,
        minimum=rows.min(axis=0).astype(np.float64),
        maximum=rows.max(axis=0).astype(np.float64),
    )


def reduce_on_device(
    data: Any, *, axis: int | tuple[int, ...] | None, covariance: bool = False, quantiles: bool = False
) -> ColumnMoments | None:
    """Moments of a tensor on an accelerator, reduced there; None where that does not apply."""
    if covariance or quantiles or not is_tensor(data):
        return None
    return reduce_tensor(data, axis=axis) if torch_sums.reducible(data) else None


def reduce_tensor(data: Any, *, axis: int | tuple[int, ...] | None = None) -> ColumnMoments:
    """Moments of a floating-point torch tensor, on its device."""
    kept = kept_axes(data.ndim, axis)
    shape = tuple(data.shape[a] for a in kept) or (1,)
    if 0 in shape:
        raise DataError(f"the data has shape {tuple(data.shape)}: expected at least one column")
    columns = int(np.prod(shape))
    rows = data.detach().movedim(kept, tuple(range(-len(kept), 0))).reshape(-1, columns)
    return moments_of(
        torch_sums.sum_columns(rows),
        entries=np.full(columns, len(rows), dtype=np.int64),
        lost=np.zeros(columns, dtype=np.int64),
        shape=shape,
        rows=len(data),
        precision=torch_sums.spacing_of(data),
    )


def moments_of_piece(piece: Piece, **options: Any) -> ColumnMoments:
    """Moments of a piece; `options` are those of `Moments.of` (`axis` only where there is an array).

    Examples
    --------
    >>> piece = Piece(columns=[np.array([1, 3]), np.array([0.5])], rows=2, missing=(0, 1))
    >>> moments = moments_of_piece(piece)
    >>> moments.mean.tolist(), moments.missing.tolist()
    ([2.0, 0.5], [0, 1])
    """
    if piece.array is not None:
        return reduce_batch(piece.array, **options)
    if options.get("covariance") and piece.whole_rows is not None:
        parts = (moments_of_piece(part, **options) for part in piece.whole_rows())
        return reduce(or_, parts, ColumnMoments.empty(len(piece.columns)))
    options |= {"rows": piece.rows, "missing": piece.missing}
    if not (options.get("covariance") and piece.present and any(piece.missing)):
        return reduce_columns(piece.columns, **options)
    # Only products need whole rows, in which NaN stands for null: integers would lose digits to it.
    options["covariance"] = False
    return replace(
        reduce_columns(piece.columns, **options), products=products_of(np.column_stack(piece.filled()))
    )
