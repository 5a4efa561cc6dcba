"""CSV and TSV files, as parts of a table: a block of lines at a time, read by polars where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import cached_property, partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..lazy import lazy
from .arrow import EMPTY
from .column_names import places_of, shown
from .csv_blocks import as_utf8, blocks, whole_lines
from .csv_dialect import Dialect, codes_with_zeros, dialect_of, is_missing, kind_of_text, lines_of
from .csv_headers import remark_on_header
from .entries import Entries, as_numbers
from .paths import stamp
from .read_ahead import in_order
from .source import Piece
from .table import Part

csv_polars = lazy("wellposed.data.csv_polars")

_HEAD = 1 << 18
"""Bytes that decide what a column holds; what contradicts them later is an error, not overlooked."""
_HEAD_LINES = 100

Rows = list[tuple[int, list[str]]]
"""Entries as they are written, with the number of the line where each row ends."""


class TextPart(Part):
    """A text table with a header line.

    A column is one of numbers when most entries of the first lines are numbers; an entry that is none, anywhere
    in the file, is then an error that names its line. Where most are none, it is text, and left alone.
    """

    def __init__(self, place: Path) -> None:
        self.label, self._place = str(place), place
        self.bytes, self.identity = place.stat().st_size, stamp(place)
        self.dialect, rows = self._first_lines()
        self.columns, self.numbers, self.left_alone = self.dialect.header, {}, {}
        self._places = places_of(self.columns)
        self.remarks = tuple(filter(None, [remark_on_header(self.dialect.header, self.dialect.number)]))
        self.read_as = _read_as(self.dialect, rows[0])
        for i, name in enumerate(self.dialect.header):
            self._decide(name, [row[i] for row in rows if i < len(row)])
        self._decide_late_columns()
        # What the start of the file tells decides how every block is read, so that a block gives the same
        # wherever reading starts.
        self._integers = frozenset(name for name, integers in self.numbers.items() if integers)

    def count(self, names: Sequence[str]) -> int:
        return sum(1 for _ in self._blocks())

    def pieces(self, names: Sequence[str], start: int) -> Iterator[Piece]:
        # Within a block little of the parsing goes in parallel, so two blocks are parsed at a time.
        with closing(in_order(self._tasks(names, start))) as pieces:
            for piece in pieces:
                for name, entries in zip(names, piece.columns, strict=True):
                    if entries.size and entries.dtype.kind not in "iu":
                        self.numbers[name] = False
                yield piece

    def _tasks(self, names: Sequence[str], start: int) -> Iterator[Callable[[], Piece]]:
        for number, (block, size) in enumerate(self._blocks()):
            if number >= start:
                yield partial(self._piece, block, size, names, number)

    def _piece(self, block: bytes, size: int, names: Sequence[str], number: int) -> Piece:
        found = self._reader.columns(block, names, self._integers) if self._reader else None
        rows, columns = found or self._columns(block, names, number)
        return Piece(
            columns=[entries for entries, _ in columns],
            missing=[rows - len(entries) for entries, _ in columns],
            present=[present for _, present in columns],
            rows=rows,
            bytes=size,
        )

    @cached_property
    def _reader(self) -> Any:
        if not find_spec("polars"):
            return None
        return csv_polars.QuickReader(self.dialect)

    def rows_in_blocks(self) -> Iterator[Rows]:
        """All rows as they are written, a block at a time."""
        line = self.dialect.header_lines
        for block, _ in self._blocks():
            yield self._rows(block, before=line)
            line += block.count(b"\n")

    def values(self, name: str, rows: Rows) -> list[int | float]:
        """The numbers in a column, NaN where they are missing.

        Raises
        ------
        DataError
            When an entry is no number, with its line.
        """
        i, number = self._places[name], self.dialect.number
        values = [number(row[i]) for _, row in rows]
        if None in values:
            line, row = rows[values.index(None)]
            raise DataError(
                f"{self.label}, line {line}: column {shown(name)!r} holds {row[i][:40]!r}, expected a number as "
                "in most lines: mend the entry, empty it, or leave the column out with columns="
            )
        return values  # type: ignore[return-value]

    def _columns(self, block: bytes, names: Sequence[str], number: int) -> tuple[int, list[Entries]]:
        """Row by row: slowly, and with the line of what is no number."""
        try:
            rows = self._rows(block, before=0)
            return len(rows), [self._column(name, rows) for name in names]
        except DataError:  # only now are the lines above counted
            above = sum(text.count(b"\n") for text, _ in islice(self._blocks(), number))
            rows = self._rows(block, before=self.dialect.header_lines + above)
            return len(rows), [self._column(name, rows) for name in names]

    def _column(self, name: str, rows: Rows) -> Entries:
        values = self.values(name, rows)
        present = np.array([value == value for value in values], dtype=bool)
        held = as_numbers([value for value in values if value == value], integers=name in self._integers)
        return held, None if present.all() else present

    def _rows(self, block: bytes, *, before: int) -> Rows:
        """Each row and the line where it ends; all have as many entries as the header."""
        width, separator = len(self.columns), self.dialect.separator
        rows: Rows = []
        for line, row in lines_of(
            block.decode(errors="surrogateescape"), separator, self.label, before=before
        ):
            if not row and width > 1:  # a blank line
                continue
            if len(row or [""]) != width:
                raise DataError(f"{self.label}, line {line}: {len(row)} entries, the header has {width}")
            rows.append((line, row or [""]))
        return rows

    def _blocks(self) -> Iterator[tuple[bytes, int]]:
        """Blocks of the lines below the header."""
        lines = self.dialect.header_lines
        for block, size in blocks(self._place):
            *header, rest = block.split(b"\n", lines)
            lines -= len(header)
            yield rest, size

    def _first_lines(self) -> tuple[Dialect, list[list[str]]]:
        head = self._head()
        if b"\0" in head:
            raise DataError(f"{self.label}: holds null characters, as UTF-16 does: {as_utf8('utf-16')}")
        try:
            dialect, rows = dialect_of(head.decode(), self.label, tabs=".tsv" in self._place.suffixes)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.label}: cannot be read as UTF-8 ({error}): if it is Latin-1, {as_utf8('cp1252')}"
            ) from None
        if not rows:
            raise DataError(f"{self.label}: a header and no rows")
        return dialect, rows

    def _head(self) -> bytes:
        """Whole lines from the start: at least a hundred, and about a quarter of a megabyte."""
        head = b""
        for block, _ in blocks(self._place):
            head += block
            if len(head) > _HEAD and head.count(b"\n") > _HEAD_LINES:
                break
        end = 0
        for _ in range(_HEAD_LINES):
            end = head.find(b"\n", end) + 1 or len(head)
        end = max(end, head.find(b"\n", _HEAD) + 1)
        return head if end >= len(head) else head[: whole_lines(head[:end])] or head

    def _decide(self, name: str, entries: list[str]) -> None:
        """Whether a column holds numbers, and whether these are integers."""
        held = [entry for entry in entries if not is_missing(entry)]
        plain = [entry for entry in held if self.dialect.number(entry) is not None]
        numbers = [self.dialect.number(entry) for entry in plain]
        integers = all(isinstance(value, int) for value in numbers)
        if 2 * len(numbers) <= len(held):
            self.left_alone[name] = kind_of_text(held) if held else EMPTY
        elif integers and (why := codes_with_zeros(plain)):
            self.left_alone[name] = why
        else:
            self.left_alone.pop(name, None)
            self.numbers[name] = integers

    def _decide_late_columns(self) -> None:
        """Columns whose first entries are all missing are decided by the first ones that are not."""
        late = {name for name, why in self.left_alone.items() if why == EMPTY}
        if not late:
            return
        line = self.dialect.header_lines
        for block, _ in self._blocks():
            for name, entries in self._held(block, sorted(late), line).items():
                self._decide(name, entries)
            late = {name for name in late if self.left_alone.get(name) == EMPTY}
            if not late:
                return
            line += block.count(b"\n")

    def _held(self, block: bytes, names: Sequence[str], before: int) -> dict[str, list[str]]:
        """Some entries of each column that are not missing, where there are any."""
        found = self._reader.held(block, names) if self._reader else None
        if found is None:
            rows = [row for _, row in self._rows(block, before=before)]
            found = {name: [row[self._places[name]] for row in rows] for name in names}
        return found


def _read_as(dialect: Dialect, row: Sequence[str]) -> str:
    header, first = (shown(dialect.separator.join(each), most=60) for each in (dialect.header, row))
    return f"read with the separator {dialect.separator!r}, the header {header!r} and the first row {first!r}"
