"""One reading of new data beside a normalizer: their moments, and where they leave the training data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.batches import batches
from ..data.column_names import listed, places_of
from ..data.open import open_source
from ..errors import DataError
from ..lazy import lazy
from ..moments.column_moments import ColumnMoments
from ..moments.columns import kept_axes, reduce_batch
from ..moments.exact.sums import Floats
from ..moments.pieces import moments_of_piece
from ..moments.sparse import entries_of, filled_in, some_rows
from ._apply import spread_over

engines = lazy("wellposed.moments.engines")

if TYPE_CHECKING:
    from ..data.source import Source
    from .fitted import FittedTransform

_CHUNK = 1 << 20  # entries that are held in float64 at a time
_SPACINGS = 2.0**-22  # two spacings of float32: an extreme that was stored more narrowly is not beyond itself

Counts = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """What new data hold, for the columns that the normalizer normalises, in order."""

    columns: Counts
    """Numbers of these columns in the normalizer."""
    rows: int
    """Samples."""
    count: Counts
    """Finite entries."""
    missing: Counts
    infinite: Counts
    mean: Floats
    variance: Floats
    minimum: Floats
    maximum: Floats
    below: Counts | None
    """Rows that hold an entry below the smallest of the training data; None where that was not counted."""
    above: Counts | None
    kurtosis: Floats | None
    """Var(z²) + 1 of the entries in training stds about the training mean; None where not measured."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reference:
    """The training statistics of the columns that are compared."""

    center: Floats
    std: Floats
    low: Floats
    high: Floats

    def one(self, i: int) -> _Reference:
        cut = slice(i, i + 1)
        return _Reference(center=self.center[cut], std=self.std[cut], low=self.low[cut], high=self.high[cut])


_Sums = tuple[Floats, Floats, Counts, Counts]
"""Of z² and of z⁴, and the rows below and above."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    rows: int
    moments: ColumnMoments
    sums: _Sums


def tally(n: FittedTransform, data: Any) -> Tally:
    """Read everything once.

    Raises
    ------
    DataError
        When there are no rows, or the columns are not those of the normalizer.
    """
    if n.provenance.rows == 0:
        raise DataError(
            "the normalizer was made of given statistics, and knows no training data to compare with: fit one with "
            "Normalizer.fit(train)"
        )
    columns = np.flatnonzero(n.selected)
    if not columns.size:
        raise DataError("the normalizer normalises no column: there is nothing to compare")
    engine = engines.engine_of(data)
    if engine is not None:
        return _by_engine(n, data, engine, columns)
    if entries_of(data) is not None:
        matrix = data[0] if isinstance(data, tuple) else data
        return _total(_of_sparse(n, matrix, columns), columns, columns)
    source = open_source(data[0] if _is_pair_of_tables(data) else data, numbers=n.names or ())
    if source is None:
        return _total(_of_batches(n, data, columns), columns, columns)
    if source.names is None:
        arrays = (piece.array for piece in source.pieces() if piece.array is not None)
        return _total((chunk for a in arrays for chunk in _chunks(n, a, columns)), columns, columns)
    return _of_source(n, source, source.names, columns)


def _total(parts: Iterator[_Part], columns: Counts, places: Counts) -> Tally:
    rows, moments, sums = 0, ColumnMoments.empty(), None
    for part in parts:
        rows, moments = rows + part.rows, moments | part.moments
        sums = part.sums if sums is None else tuple(a + b for a, b in zip(sums, part.sums, strict=True))
    if sums is None or rows == 0:
        raise DataError("the data have no rows: expected at least one to compare")
    squares, fourths, below, above = sums
    count = np.maximum(moments.count.ravel()[places], 1)
    with np.errstate(over="ignore", invalid="ignore"):
        kurtosis = np.nan_to_num(np.maximum(fourths / count - (squares / count) ** 2, 0.0) + 1, nan=np.inf)
    return _tally(moments, columns, places, rows=rows, below=below, above=above, kurtosis=kurtosis)


def _tally(m: ColumnMoments, columns: Counts, places: Counts, **found: Any) -> Tally:
    taken = {
        name: getattr(m, name).ravel()[places]
        for name in ("count", "missing", "infinite", "mean", "variance", "minimum", "maximum")
    }
    return Tally(columns=columns, **taken, **found)


def _by_engine(n: FittedTransform, data: Any, engine: str, columns: Counts) -> Tally:
    """Engines give moments and nothing else: what they do not tell stays unknown."""
    found = engines.reduce_with(engine, data, axis=None if n.ndim == 2 else n.axis or None)
    places = _places(n, found.names, found.moments.count.size, columns)
    return _tally(
        found.moments, columns, places, rows=found.moments.rows, below=None, above=None, kurtosis=None
    )


def _of_batches(n: FittedTransform, data: Any, columns: Counts) -> Iterator[_Part]:
    with closing(batches(data)) as held:
        for batch in held:
            yield from _chunks(n, batch, columns)


def _of_sparse(n: FittedTransform, matrix: Any, columns: Counts) -> Iterator[_Part]:
    """Some rows at a time are filled in; what is held stays small."""
    take, (rows, width) = some_rows(matrix), matrix.shape
    step = max(1, _CHUNK // max(1, width))
    for start in range(0, rows, step):
        some = np.arange(start, min(start + step, rows))
        yield _of_array(n, filled_in(take(some)), columns)


def _chunks(n: FittedTransform, array: NDArray[Any], columns: Counts) -> Iterator[_Part]:
    step = max(1, _CHUNK // max(1, array[:1].size))
    for start in range(0, len(array), step):
        yield _of_array(n, array[start : start + step], columns)


def _of_array(n: FittedTransform, array: NDArray[Any], columns: Counts) -> _Part:
    if array.ndim != n.ndim:
        raise DataError(
            f"the data have {array.ndim} dimensions, the normalizer was fitted on {n.ndim}: expected data of "
            "the training data's form"
        )
    spread_over(n, n.mean, array.shape)  # checks the columns
    kept = kept_axes(array.ndim, n.axis or None)
    by_column = np.moveaxis(array, kept, range(-len(kept), 0)) if kept else array
    by_column = by_column.reshape(len(array), -1, n.mean.size)
    moments = reduce_batch(by_column.reshape(-1, n.mean.size))
    sums = _sums(by_column[..., columns], _reference(n, columns))
    return _Part(rows=len(array), moments=moments, sums=sums)


def _of_source(n: FittedTransform, source: Source, found: Sequence[str], columns: Counts) -> Tally:
    if n.names is not None and {n.names[i] for i in columns} <= {*found}:
        source = source.select([n.names[i] for i in columns])
        found = source.names or ()  # in the order of the source
    places = _places(n, found, len(found), columns)
    return _total(_of_table(n, source, columns, places), columns, places)


def _of_table(n: FittedTransform, source: Source, columns: Counts, places: Counts) -> Iterator[_Part]:
    reference = _reference(n, columns)
    for piece in source.pieces():
        each = [
            _sums(np.asarray(piece.columns[place]).reshape(-1, 1, 1), reference.one(i))
            for i, place in enumerate(places)
        ]
        squares, fourths, below, above = (np.concatenate(s) for s in zip(*each, strict=True))
        yield _Part(rows=piece.rows, moments=moments_of_piece(piece), sums=(squares, fourths, below, above))


def _places(n: FittedTransform, found: Sequence[str] | None, width: int, columns: Counts) -> Counts:
    """Where the columns that are compared stand in the new data; without names, their order counts."""
    if n.names is None or found is None:
        if width != n.mean.size:
            raise DataError(
                f"the data have {width} columns of numbers, the normalizer {n.mean.size}: expected the same"
            )
        return columns
    names = [n.names[i] for i in columns]
    places = places_of(found)
    lacking = [name for name in names if name not in places]
    if lacking:
        raise DataError(
            f"the data have no column of numbers {listed(lacking)}, which the normalizer was fitted on; they "
            f"have {listed(found, most=8)}"
        )
    return np.array([places[name] for name in names], dtype=np.int64)


def _reference(n: FittedTransform, columns: Counts) -> _Reference:
    low, high = n.minimum.ravel()[columns], n.maximum.ravel()[columns]
    slack = _SPACINGS * np.maximum(np.abs(low), np.abs(high))
    constant, std = n.constant.ravel()[columns], n.std.ravel()[columns]
    return _Reference(
        center=n.mean.ravel()[columns],
        std=np.where(constant | (std == 0), np.nan, std),
        low=low - slack,
        high=high + slack,
    )


@np.errstate(invalid="ignore", over="ignore")
def _sums(rows: NDArray[Any], reference: _Reference) -> _Sums:
    """Over ``(rows, entries, columns)``."""
    below = (rows < reference.low).any(axis=1).sum(axis=0)
    above = (rows > reference.high).any(axis=1).sum(axis=0)
    z = (rows - reference.center) / reference.std
    squares = np.where(np.isfinite(z), z * z, 0.0)
    fourths = squares * squares
    return squares.sum(axis=(0, 1)), fourths.sum(axis=(0, 1)), below.astype(np.int64), above.astype(np.int64)


def _is_pair_of_tables(data: Any) -> bool:
    return isinstance(data, tuple) and len(data) == 2 and hasattr(data[0], "__arrow_c_stream__")
