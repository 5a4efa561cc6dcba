"""Exact sums of blocks of rows: by NumPy for few entries and by compiled code for many, with the same result."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...lazy import lazy
from . import numpy_sums
from .kernel_lanes import OpenLanes, Room
from .sums import SQUARE_BIAS, SQUARE_LIMBS, VALUE_BIAS, VALUE_LIMBS, Digits, ExactSums, Floats

if TYPE_CHECKING:
    from .machine_code import Native

machine_code = lazy("wellposed.moments.exact.machine_code")

WORTH_COMPILING = 1 << 23
"""Entries from which numba is loaded: below, NumPy is done before numba is imported."""
_ROW_BYTES = 256  # rows of lanes of about this size are read fastest
_COLUMNS = 2048  # taken together: the wide integers of more columns would not stay in the cache
_ROWS = 1 << 25  # of a column, between carries
_OPEN = 8  # sets of lanes kept open: some, for tables; not one for each of a thousand columns
_PLAIN_ENTRIES = 1 << 17  # that NumPy is given at once: few calls, and their arrays stay in the cache
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

    def folded(self, columns: int) -> ColumnSums:
        """Of columns that stand several times side by side, summed to one each."""
        shape = (-1, columns)
        return ColumnSums(
            values=self.values.folded(columns),
            squares=self.squares.folded(columns),
            missing=self.missing.reshape(shape).sum(axis=0),
            infinite=self.infinite.reshape(shape).sum(axis=0),
            minimum=self.minimum.reshape(shape).min(axis=0),
            maximum=self.maximum.reshape(shape).max(axis=0),
        )


class Accumulator:
    """Exact sums of `columns` columns, filled with blocks of rows; for one thread at a time."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self._values = ExactSums.zero(columns, bias=VALUE_BIAS)
        self._squares = ExactSums.zero(columns, bias=SQUARE_BIAS)
        self._limbs: tuple[Digits, Digits] | None = None
        self._lanes: dict[tuple[int, int, int, int], tuple[Native, OpenLanes]] = {}
        self._added = np.zeros(columns, dtype=np.int64)
        self._missing, self._infinite = (np.zeros(columns, dtype=np.int64) for _ in range(2))
        self._minimum, self._maximum = np.full(columns, np.inf), np.full(columns, -np.inf)

    def add(self, rows: NDArray[np.float32] | NDArray[np.float64]) -> None:
        """Add ``(rows, columns)``, contiguous, of float32 or float64."""
        code = _compiled(rows.size)
        if code is None:
            self._add_plain(rows)
            return
        for some in (rows[i : i + _ROWS] for i in range(0, len(rows), _ROWS)):
            for start in range(0, self.columns, _COLUMNS):
                self._add_compiled(code, some, start, min(_COLUMNS, self.columns - start))
            self._count(slice(None), len(some))

    def add_column(self, column: int, entries: NDArray[np.float32] | NDArray[np.float64]) -> None:
        """Add ``(entries,)``, contiguous, to one column."""
        code = _compiled(entries.size)
        if code is None:
            self._add_plain(entries.reshape(-1, 1), column)
            return
        for some in (entries[i : i + _ROWS] for i in range(0, len(entries), _ROWS)):
            self._add_compiled(code, some.reshape(-1, 1), 0, 1, column)
            self._count(slice(column, column + 1), len(some))

    def add_sums(self, sums: ColumnSums, places: Sequence[int] | None = None) -> None:
        """Add what was summed elsewhere: of all columns, or of those at `places`."""
        to: Any = slice(None) if places is None else places
        values, squares = sums.values, sums.squares
        if places is not None:
            values, squares = (each.placed(places, self.columns) for each in (values, squares))
        self._values, self._squares = self._values + values, self._squares + squares
        self._missing[to] += sums.missing
        self._infinite[to] += sums.infinite
        self._widen(to, sums.minimum, sums.maximum)

    def sums(self) -> ColumnSums:
        """Of all that was added so far."""
        self._carry()
        return ColumnSums(
            values=self._values,
            squares=self._squares,
            missing=self._missing.copy(),
            infinite=self._infinite.copy(),
            minimum=self._minimum.copy(),
            maximum=self._maximum.copy(),
        )

    def _add_compiled(
        self, code: Native, rows: NDArray[np.floating], start: int, width: int, column: int = 0
    ) -> None:
        """Add the columns `start` to ``start + width`` of `rows` to those from ``start + column`` on."""
        total = rows.shape[1]
        fold = max(1, _ROW_BYTES // (total * rows.itemsize)) if width == total else 1
        even = len(rows) // fold
        flat = rows.reshape(-1)
        lanes = self._lanes_of(code, start + column, width, fold, rows.itemsize)
        rest = (len(rows) - even * fold) * width
        code.reduce_lanes(flat[start:], even, rest, fold * total, lanes, self._room)
        if len(self._lanes) > _OPEN:
            self._close()

    @cached_property
    def _room(self) -> Room:
        return Room()

    def _lanes_of(self, code: Native, start: int, width: int, fold: int, itemsize: int) -> OpenLanes:
        """Lanes stay open from block to block: closing them costs as much as a thousand rows."""
        if self._limbs is None:
            self._limbs = (
                np.zeros((self.columns, VALUE_LIMBS), dtype=np.int64),
                np.zeros((self.columns, SQUARE_LIMBS), dtype=np.int64),
            )
        key = start, start + width, fold, itemsize
        if key not in self._lanes:
            limbs = (part[start : start + width] for part in self._limbs)
            self._lanes[key] = code, OpenLanes(fold * width, *limbs)
        return self._lanes[key][1]

    def _count(self, to: slice, rows: int) -> None:
        """Carry before running sums or limbs could overflow, at 2**27 additions and 2**30 entries."""
        self._added[to] += rows
        if self._added.max(initial=0) >= _ROWS:
            self._carry()

    def _carry(self) -> None:
        self._close()
        if self._limbs is not None:
            self._values += ExactSums.of_limbs(self._limbs[0], bias=VALUE_BIAS)
            self._squares += ExactSums.of_limbs(self._limbs[1], bias=SQUARE_BIAS)
            self._limbs = None
        self._added[:] = 0

    def _close(self) -> None:
        for (start, stop, fold, _), (code, lanes) in self._lanes.items():
            code.flush(lanes)
            self._take(lanes, slice(start, stop), fold)
        self._lanes.clear()

    def _take(self, lanes: OpenLanes, to: slice, fold: int) -> None:
        width = to.stop - to.start
        self._missing[to] += lanes.missing.reshape(fold, width).sum(axis=0)
        self._infinite[to] += lanes.infinite.reshape(fold, width).sum(axis=0)
        self._widen(
            to, lanes.minimum.reshape(fold, width).min(axis=0), lanes.maximum.reshape(fold, width).max(axis=0)
        )

    def _widen(self, to: Any, minimum: Floats, maximum: Floats) -> None:
        self._minimum[to] = np.minimum(self._minimum[to], minimum)
        self._maximum[to] = np.maximum(self._maximum[to], maximum)

    def _add_plain(self, rows: NDArray[np.floating], column: int | None = None) -> None:
        for block in _blocks(rows):
            sums = _plain_sums(block.astype(np.float64)).folded(rows.shape[1])
            self.add_sums(sums, None if column is None else [column])


def _blocks(rows: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    """Rows in blocks of at most `numpy_sums.ROWS`; where there are many, several of them side by side in one row of the block."""
    most = max(1, _PLAIN_ENTRIES // (numpy_sums.ROWS * rows.shape[1]))
    while len(rows):
        fold = min(max(1, len(rows) // numpy_sums.ROWS), most)
        taken = fold * min(len(rows), numpy_sums.ROWS)
        yield rows[:taken].reshape(-1, fold * rows.shape[1])
        rows = rows[taken:]


def _plain_sums(block: Floats) -> ColumnSums:
    finite = np.isfinite(block)
    digits = numpy_sums.split(np.where(finite, block, 0.0))
    return ColumnSums(
        values=numpy_sums.sum_values(digits, block.shape[1]),
        squares=numpy_sums.sum_squares(digits, block.shape[1]),
        missing=np.isnan(block).sum(axis=0),
        infinite=np.isinf(block).sum(axis=0),
        minimum=np.where(finite, block, np.inf).min(axis=0, initial=np.inf),
        maximum=np.where(finite, block, -np.inf).max(axis=0, initial=-np.inf),
    )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_worth_compiling(entries: int) -> bool:
    """Whether so many more entries take the compiled path."""
    return _seen + entries >= WORTH_COMPILING


def _compiled(entries: int) -> Native | None:
    """The compiled path, once enough has been read in this process for it to pay."""
    global _seen
    _seen += entries
    return _load_compiled() if _seen >= WORTH_COMPILING else None


_loading = threading.Lock()


def _load_compiled() -> Native | None:
    with _loading:  # two threads would load it twice
        return _loaded()


def load_ahead(entries: int) -> None:
    """Load the compiled code now, if so many entries are still to come that it pays."""
    if is_worth_compiling(entries):
        _compiled(entries)


@cache
def _loaded() -> Native | None:
    try:
        return machine_code.Native()
    except ImportError:
        return None
    except (OSError, RuntimeError):
        warnings.warn(
            "the sums are added by NumPy, many times slower: numba could not compile",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
