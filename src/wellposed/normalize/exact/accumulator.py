"""Rows in, exact sums out: whichever of the two paths is worth it, block by block, with the same result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import plain
from .sums import SQUARE_BIAS, SQUARE_LIMBS, VALUE_BIAS, VALUE_LIMBS, Digits, ExactSums, Floats

WORTH_COMPILING = 1 << 23
"""Entries from which numba is loaded: below, NumPy is done before numba is imported."""
_ROW_BYTES = 400  # rows of lanes of about this size are read fastest
_COLUMNS = 2048  # taken together: the wide integers of more columns would not stay in the cache
_OPEN = 8  # sets of lanes kept open: some, for tables; not one for each of a thousand columns
_seen = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnSums:
    """What `Accumulator` gives: one entry a column; minimum and maximum are infinite where there is none."""

    values: ExactSums
    squares: ExactSums
    missing: Digits
    infinite: Digits
    minimum: Floats
    maximum: Floats

    def __or__(self, other: ColumnSums) -> ColumnSums:
        return ColumnSums(
            values=self.values + other.values,
            squares=self.squares + other.squares,
            missing=self.missing + other.missing,
            infinite=self.infinite + other.infinite,
            minimum=np.minimum(self.minimum, other.minimum),
            maximum=np.maximum(self.maximum, other.maximum),
        )

    def placed(self, places: Sequence[int], columns: int) -> ColumnSums:
        """The sums as those of some of `columns`, with nothing in the others."""
        blank = Accumulator(columns).sums()
        for name in ("missing", "infinite", "minimum", "maximum"):
            getattr(blank, name)[places] = getattr(self, name)
        return replace(
            blank, values=self.values.placed(places, columns), squares=self.squares.placed(places, columns)
        )


class Accumulator:
    """Exact sums of `columns` columns, filled with blocks of rows; for one thread at a time."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self._values = ExactSums.zero(columns, bias=VALUE_BIAS)
        self._squares = ExactSums.zero(columns, bias=SQUARE_BIAS)
        self._limbs: tuple[Digits, Digits] | None = None
        self._lanes: dict[tuple[int, int, int], Any] = {}
        self._missing, self._infinite = (np.zeros(columns, dtype=np.int64) for _ in range(2))
        self._minimum, self._maximum = np.full(columns, np.inf), np.full(columns, -np.inf)

    def add(self, rows: NDArray[np.float32] | NDArray[np.float64]) -> None:
        """Add ``(rows, columns)``, contiguous, of float32 or float64."""
        compiled = _compiled(rows.size)
        if compiled is None:
            self._add_plain(rows)
            return
        for start in range(0, rows.shape[1], _COLUMNS):
            self._add_compiled(compiled, rows, start, min(_COLUMNS, rows.shape[1] - start))

    def add_column(self, column: int, entries: NDArray[np.float32] | NDArray[np.float64]) -> None:
        """Add ``(entries,)``, contiguous, to one column."""
        compiled = _compiled(entries.size)
        if compiled is None:
            self._add_plain(entries.reshape(-1, 1), column)
        else:
            self._add_compiled(compiled, entries.reshape(-1, 1), 0, 1, column)

    def sums(self) -> ColumnSums:
        """Of all that was added so far."""
        self._close()
        values, squares = self._values, self._squares
        if self._limbs is not None:
            values = values + ExactSums.of_limbs(self._limbs[0], bias=VALUE_BIAS)
            squares = squares + ExactSums.of_limbs(self._limbs[1], bias=SQUARE_BIAS)
        return ColumnSums(
            values=values,
            squares=squares,
            missing=self._missing.copy(),
            infinite=self._infinite.copy(),
            minimum=self._minimum.copy(),
            maximum=self._maximum.copy(),
        )

    def _add_compiled(
        self, compiled: ModuleType, rows: NDArray[np.floating], start: int, width: int, column: int = 0
    ) -> None:
        """Add the columns `start` to ``start + width`` of `rows` to those from ``start + column`` on."""
        if self._limbs is None:
            columns = len(self._missing)
            self._limbs = (
                np.zeros((columns, VALUE_LIMBS), dtype=np.int64),
                np.zeros((columns, SQUARE_LIMBS), dtype=np.int64),
            )
        total = rows.shape[1]
        fold = max(1, _ROW_BYTES // (total * rows.itemsize)) if width == total else 1
        even = len(rows) // fold * fold
        to = slice(start + column, start + column + width)
        limbs = self._limbs[0][to], self._limbs[1][to]
        flat = rows.view().reshape(-1)
        flat.flags.writeable = False  # always: numba would compile once more for the other kind
        lanes = self._lanes_of(compiled, to, fold)
        rest = (len(rows) - even) * width
        compiled.reduce_lanes(flat[start:], even // fold, rest, fold * total, lanes, *limbs)
        if len(self._lanes) > _OPEN:
            self._close()

    def _lanes_of(self, compiled: ModuleType, to: slice, fold: int) -> Any:
        """Lanes stay open from block to block: closing them costs as much as a thousand rows."""
        key = to.start, to.stop, fold
        if key not in self._lanes:
            self._lanes[key] = compiled.lanes_of(fold * (to.stop - to.start))
        return self._lanes[key]

    def _close(self) -> None:
        for (start, stop, fold), lanes in self._lanes.items():
            to = slice(start, stop)
            limbs: Any = self._limbs
            _load_compiled().flush(lanes, limbs[0][to], limbs[1][to])  # type: ignore[union-attr]
            self._take(lanes, to, fold)
        self._lanes.clear()

    def _take(self, lanes: Any, to: slice, fold: int) -> None:
        width = to.stop - to.start
        self._missing[to] += lanes.missing.reshape(fold, width).sum(axis=0)
        self._infinite[to] += lanes.infinite.reshape(fold, width).sum(axis=0)
        self._widen(
            to, lanes.minimum.reshape(fold, width).min(axis=0), lanes.maximum.reshape(fold, width).max(axis=0)
        )

    def _widen(self, to: slice, minimum: Floats, maximum: Floats) -> None:
        np.minimum(self._minimum[to], minimum, out=self._minimum[to])
        np.maximum(self._maximum[to], maximum, out=self._maximum[to])

    def _add_plain(self, rows: NDArray[np.floating], column: int | None = None) -> None:
        to = slice(0, rows.shape[1]) if column is None else slice(column, column + 1)
        for start in range(0, len(rows), plain.ROWS):
            block = rows[start : start + plain.ROWS].astype(np.float64)
            finite = np.isfinite(block)
            self._missing[to] += np.isnan(block).sum(axis=0)
            self._infinite[to] += np.isinf(block).sum(axis=0)
            self._widen(
                to,
                np.where(finite, block, np.inf).min(axis=0, initial=np.inf),
                np.where(finite, block, -np.inf).max(axis=0, initial=-np.inf),
            )
            digits = plain.split(np.where(finite, block, 0.0))
            values, squares = (
                plain.sum_values(digits, block.shape[1]),
                plain.sum_squares(digits, block.shape[1]),
            )
            if column is not None:
                values, squares = (s.placed([column], self.columns) for s in (values, squares))
            self._values, self._squares = self._values + values, self._squares + squares


def is_worth_compiling(entries: int) -> bool:
    """Whether so many more entries take the compiled path."""
    return _seen + entries >= WORTH_COMPILING


def _compiled(entries: int) -> ModuleType | None:
    """The compiled path, once enough has been read in this process for it to pay."""
    global _seen
    _seen += entries
    return _load_compiled() if _seen >= WORTH_COMPILING else None


@cache
def _load_compiled() -> ModuleType | None:
    try:
        from . import compiled
    except (ImportError, RuntimeError, OSError):  # not installed here, or nowhere to keep compiled code
        return None
    return compiled
