"""What every kind of data becomes: a source, cut into pieces of columns or of one array."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping


PIECE_BYTES = 1 << 23
"""About what a piece holds once decoded: enough to be quick, small enough that a few fit anywhere."""
FEWEST_ROWS = 1 << 15
"""And rows of a table in memory, of which a piece is a view: each column of a piece costs some microseconds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """Some rows of a source: `columns`, or for arrays of any number of dimensions `array`.

    A piece of a large file may hold some of the columns only; the others are empty in it, and the rows are counted
    by one of the pieces that share them.
    """

    rows: int
    """Rows that no other piece counts."""
    columns: Sequence[NDArray[Any]] = ()
    """One 1-d array a column; nulls are left out, so they may differ in length."""
    missing: Sequence[int] = ()
    """Nulls that were left out of each column; NaN entries stay in and are not counted here."""
    present: Sequence[NDArray[np.bool_] | None] = ()
    """Which rows have an entry, for each column; None for those that lack none."""
    whole_rows: Callable[[], Iterator[Piece]] | None = None
    """Gives the whole rows, where the piece holds some of their columns; none, where another piece gives them."""
    array: NDArray[Any] | None = None
    """Samples along the first axis."""
    bytes: int = 0
    """Bytes of the source that this piece stands for."""

    def filled(self) -> list[NDArray[Any]]:
        """The columns with NaN where a null was left out: what belongs to one row stands in one place."""
        return [
            column if present is None else _with_nan(column, present)
            for column, present in zip(self.columns, self.present, strict=True)
        ]


def _with_nan(column: NDArray[Any], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    whole = np.full(len(present), np.nan)
    whole[present] = column
    return whole


class Source(ABC):
    """Data that are read piece by piece; made by `open_source`."""

    label: str
    """Where the data come from, for the record."""
    names: tuple[str, ...] | None
    """The columns of numbers, in order; None for arrays, whose columns have no names."""
    left_alone: Mapping[str, str]
    """Name of each column that is no number (or array that is not read), and why."""
    rows: int | None
    """Rows in all, when that is known before reading."""
    bytes: int | None
    """Bytes in all, as the pieces count them."""
    ndim: int
    """Dimensions of the data, the samples included: 2 for a table."""
    remarks: tuple[str, ...] = ()
    """What had to be decided to read them."""
    identity: str
    """Digest of what is read: another file, another version of it or other columns give another one. Empty for
    data in memory, which cannot be told apart when they are read again."""

    @property
    @abstractmethod
    def integers(self) -> tuple[bool, ...]:
        """Which columns are stored as integers; for text, as far as it was read."""

    def recall(self, integers: Sequence[bool]) -> None:  # noqa: B027 - most sources know it from the start
        """Take over what `integers` said after earlier pieces were read, by whoever does not read them again."""

    @abstractmethod
    def pieces(self, start: int = 0) -> Iterator[Piece]:
        """The pieces from number `start` on; the cut depends on the data alone."""

    @abstractmethod
    def select(self, columns: Sequence[str]) -> Source:
        """The same source, reading no other columns than these; they count as chosen by name."""


def digest(*parts: Any) -> str:
    """16 hex digits that tell one tuple of plain values from another."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
