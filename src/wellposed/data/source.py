"""What every kind of data becomes: a source, cut into pieces of columns or of one array.

A `TableSource` is made of parts (files, or one object in memory), which agree on their columns by name; arrays have a
source of their own in `npy`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, DataError
from .column_names import NO_NAME, listed, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

PIECE_BYTES = 1 << 23
"""About what a piece holds once decoded: enough to be quick, small enough that a few fit anywhere."""
FEWEST_ROWS = 1 << 15
"""And rows of a table in memory, of which a piece is a view: each column of a piece costs some microseconds."""


Progress = Callable[[int, "int | None", int], object]
"""Called with the bytes that are done, the bytes there are (None when unknown), and the rows that are done."""


ColumnEntries = tuple[NDArray[Any], NDArray[np.bool_] | None]
"""1-d numbers, and which rows have one; None where all have."""


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

    @staticmethod
    def of(entries: Sequence[ColumnEntries], *, rows: int, bytes: int) -> Piece:
        """Some rows of a table, of each of whose columns `entries` tells what it holds beside nulls."""
        return Piece(
            columns=tuple(column for column, _ in entries),
            missing=tuple(rows - len(column) for column, _ in entries),
            present=tuple(present for _, present in entries),
            rows=rows,
            bytes=bytes,
        )

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
    def pieces(self, start: int = 0) -> Generator[Piece]:
        """The pieces from number `start` on; the cut depends on the data alone."""

    @abstractmethod
    def select(self, columns: Sequence[str]) -> Source:
        """The same source, reading no other columns than these; they count as chosen by name."""


def digest(*parts: Any) -> str:
    """16 hex digits that tell one tuple of plain values from another."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def as_numbers(values: list[Any], *, integers: bool) -> NDArray[Any]:
    """Python numbers as int64 or uint64 where all are integers that fit and were expected, else as float64."""
    if integers and all(isinstance(value, int) for value in values):
        low, high = min(values, default=0), max(values, default=0)
        if low >= -(1 << 63) and high < 1 << 63:
            return np.array(values, dtype=np.int64)
        if low >= 0 and high < 1 << 64:
            return np.array(values, dtype=np.uint64)
    return np.array(values, dtype=np.float64)


EMPTY = "empty: it holds nulls alone"
"""Why a column is left alone that any other part may say to hold numbers."""


class Part(ABC):
    """One file or object: what its columns are, and its pieces."""

    label: str
    columns: tuple[str, ...]
    """Names of all columns, in order."""
    numbers: dict[str, bool]
    """Each column of numbers, and whether it is stored as integers; text is known only as far as it was read."""
    left_alone: dict[str, str]
    """Each other column, and why it is left alone."""
    rows: int | None = None
    bytes: int | None = None
    identity: tuple[Any, ...] = ()
    """Of a file; empty for data in memory."""
    remarks: tuple[str, ...] = ()
    """What had to be decided to read it."""
    read_as: str = ""
    """Of text: how it was read, for an error about what it holds."""

    def add_folder_names(self, names: Sequence[str]) -> None:
        """Leave alone the columns that stand in the names of folders, where the file does not hold them too."""
        new = tuple(name for name in names if name not in set(self.columns))
        self.columns = (*self.columns, *new)
        self.left_alone |= dict.fromkeys(new, "in the names of folders")

    @abstractmethod
    def count(self, names: Sequence[str]) -> int:
        """Number of pieces, when these columns are read."""

    @abstractmethod
    def pieces(self, names: Sequence[str], start: int) -> Iterator[Piece]:
        """The pieces from number `start` on, with the columns `names`."""


class TableSource(Source):
    """Parts with the same columns, one after the other."""

    ndim = 2

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        label: str,
        chosen: Sequence[str] | None = None,
        numbers: Sequence[str] = (),
    ) -> None:
        """`numbers` are known to be columns of numbers, should they be empty; of `chosen` alone are read."""
        self._parts, self._numbers = tuple(parts), tuple(numbers)
        self.label = label
        names, left_alone, wrong = _agreed(self._parts, frozenset(numbers))
        if chosen is not None:
            _check_chosen(chosen, self._parts[0].columns, left_alone, label)
            wanted = set(chosen)
            left_alone |= {name: "not chosen" for name in names if name not in wanted}
            names = tuple(name for name in names if name in wanted)
        if not names:
            raise DataError(_no_numbers(self._parts[0], left_alone, label))
        self.names, self.left_alone = names, MappingProxyType(left_alone)
        self._wrong = next((why for name, why in wrong.items() if name in names), None)
        self.remarks = tuple(dict.fromkeys(remark for part in self._parts for remark in part.remarks))
        self.rows = _sum([part.rows for part in parts])
        self.bytes = _sum([part.bytes for part in parts])
        on_disk = all(part.identity for part in parts)
        self.identity = digest([part.identity for part in parts], self.names) if on_disk else ""

    @property
    def integers(self) -> tuple[bool, ...]:
        return tuple(all(part.numbers.get(n, True) for part in self._parts) for n in self.names or ())

    def recall(self, integers: Sequence[bool]) -> None:
        for name, stored in zip(self.names or (), integers, strict=True):
            for part in self._parts:
                if name in part.numbers:
                    part.numbers[name] &= stored

    def pieces(self, start: int = 0) -> Generator[Piece]:
        if self._wrong:
            raise DataError(self._wrong)
        for part in self._parts:
            # Counting may cost a pass over a compressed file, so only what is to be skipped is counted.
            if start and (count := part.count(self.names or ())) <= start:
                start -= count
                continue
            yield from part.pieces(self.names or (), start)
            start = 0

    def select(self, columns: Sequence[str]) -> TableSource:
        return TableSource(self._parts, label=self.label, chosen=columns, numbers=self._numbers)


def _no_numbers(first: Part, left_alone: dict[str, str], label: str) -> str:
    columns = [f"{name or NO_NAME} ({why})" for name, why in left_alone.items()]
    how = f"; {first.read_as}" if first.read_as else ""
    return f"{label}: no column of numbers; there is {listed(columns) or 'nothing'}{how}"


def _agreed(
    parts: Sequence[Part], numbers: frozenset[str]
) -> tuple[tuple[str, ...], dict[str, str], dict[str, str]]:
    """The columns of numbers, the others with the reason, and what is wrong with columns that parts disagree on.

    An empty column is one of numbers where it is among `numbers`.
    """
    first, deciding, wrong = parts[0], dict[str, Part](), dict[str, str]()
    left_alone = dict.fromkeys(first.columns, EMPTY)
    for part in parts:
        _check_same_columns(first, part)
        for name in first.columns:
            if part.left_alone.get(name) == EMPTY:  # of numbers, when any other part says so
                continue
            other = deciding.setdefault(name, part)
            left_alone[name] = other.left_alone.get(name, "")
            if (name in part.numbers) != (name in other.numbers):
                text, number = (other, part) if name in part.numbers else (part, other)
                wrong[name] = (
                    f"column {shown(name)!r} is {text.left_alone[name]} in {text.label} and numbers in {number.label}: "
                    "expected one kind; leave it out with columns="
                )
    for name in numbers & {name for name, why in left_alone.items() if why == EMPTY}:
        left_alone[name] = ""
    names = tuple(name for name in first.columns if name in wrong or not left_alone[name])
    numeric = set(names)
    return names, {name: why for name, why in left_alone.items() if name not in numeric}, wrong


def _check_same_columns(first: Part, other: Part) -> None:
    ours, theirs = set(first.columns), set(other.columns)
    lacking, extra = sorted(ours - theirs), sorted(theirs - ours)
    if lacking or extra:
        difference = " and ".join(
            f"{word} {listed(names)}" for word, names in (("lacks", lacking), ("adds", extra)) if names
        )
        raise DataError(f"{other.label} {difference}: expected the columns of {first.label}")


def _check_chosen(
    chosen: Sequence[str], order: Sequence[str], left_alone: dict[str, str], label: str
) -> None:
    there = set(order)
    for name in chosen:
        if name not in there:
            raise ArgumentError(
                f"columns has {shown(name)!r}, which is not in {label}: there is {listed(order)}"
            )
        if name in left_alone:
            raise ArgumentError(
                f"columns has {shown(name)!r}, which holds no numbers in {label}: {left_alone[name]}"
            )


def _sum(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None
