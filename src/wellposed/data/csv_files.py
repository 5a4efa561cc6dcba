"""CSV and TSV files, as parts of a table: a block of lines at a time, read by polars where it is installed.

polars reads a block with the meaning that `csv_dialect.Dialect.number` gives each entry; what it cannot read is read row by row,
which finds the line to name in an error.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import cached_property, partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import DataError
from .column_names import places_of, shown
from .csv_dialect import (
    MISSING,
    Dialect,
    codes_with_zeros,
    dialect_of,
    is_missing,
    kind_of_text,
    lines_of,
    remark_on_header,
)
from .paths import stamp
from .source import EMPTY, ColumnEntries, Part, Piece, as_numbers

_HEAD = 1 << 18
"""Bytes at the start of a file that decide the type of each column; a later entry that contradicts it is an error."""
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
        # Decided by the start of the file for all blocks, so that a block gives the same wherever reading starts.
        self._integers = frozenset(name for name, integers in self.numbers.items() if integers)

    def count(self, names: Sequence[str]) -> int:
        return sum(1 for _ in self._blocks())

    def pieces(self, names: Sequence[str], start: int) -> Iterator[Piece]:
        numbered = islice(enumerate(self._blocks()), start, None)
        tasks = (partial(self._piece, block, size, names, number) for number, (block, size) in numbered)
        # Within a block little of the parsing goes in parallel, so two blocks are parsed at a time.
        with closing(in_order(tasks)) as pieces:
            for piece in pieces:
                for name, entries in zip(names, piece.columns, strict=True):
                    if entries.size and entries.dtype.kind not in "iu":
                        self.numbers[name] = False
                yield piece

    def _piece(self, block: bytes, size: int, names: Sequence[str], number: int) -> Piece:
        parsed = self._reader.columns(block, names, self._integers) if self._reader else None
        rows, columns = parsed or self._columns(block, names, number)
        return Piece.of(columns, rows=rows, bytes=size)

    @cached_property
    def _reader(self) -> Any:
        if not find_spec("polars"):
            return None
        return PolarsReader(self.dialect)

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

    def _columns(self, block: bytes, names: Sequence[str], number: int) -> tuple[int, list[ColumnEntries]]:
        """Read row by row, which is slow, and name the line of an entry that is no number."""
        try:
            rows = self._rows(block, before=0)
            return len(rows), [self._column(name, rows) for name in names]
        except DataError:  # only now are the lines above counted
            above = sum(text.count(b"\n") for text, _ in islice(self._blocks(), number))
            rows = self._rows(block, before=self.dialect.header_lines + above)
            return len(rows), [self._column(name, rows) for name in names]

    def _column(self, name: str, rows: Rows) -> ColumnEntries:
        values = self.values(name, rows)
        present = np.array([value == value for value in values], dtype=bool)
        entries = as_numbers([value for value in values if value == value], integers=name in self._integers)
        return entries, None if present.all() else present

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
        filled = [entry for entry in entries if not is_missing(entry)]
        plain = [entry for entry in filled if self.dialect.number(entry) is not None]
        numbers = [self.dialect.number(entry) for entry in plain]
        integers = all(isinstance(value, int) for value in numbers)
        if 2 * len(numbers) <= len(filled):
            self.left_alone[name] = kind_of_text(filled) if filled else EMPTY
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
            for name, entries in self._filled_entries(block, sorted(late), line).items():
                self._decide(name, entries)
            late = {name for name in late if self.left_alone.get(name) == EMPTY}
            if not late:
                return
            line += block.count(b"\n")

    def _filled_entries(self, block: bytes, names: Sequence[str], before: int) -> dict[str, list[str]]:
        """Some entries of each column that are not missing, where there are any."""
        entries = self._reader.filled_entries(block, names) if self._reader else None
        if entries is None:
            rows = [row for _, row in self._rows(block, before=before)]
            entries = {name: [row[self._places[name]] for row in rows] for name in names}
        return entries


def _read_as(dialect: Dialect, row: Sequence[str]) -> str:
    header, first = (shown(dialect.separator.join(each), most=60) for each in (dialect.header, row))
    return f"read with the separator {dialect.separator!r}, the header {header!r} and the first row {first!r}"


_QUOTED = re.compile(rb'"[^"]*"')


class PolarsReader:
    """Parses blocks with polars; gives None for a block that it cannot parse, which is then read row by row."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._index = {name: i for i, name in enumerate(dialect.header)}
        # With decimal_comma polars takes 1.234 for a decimal point too.
        self._odd: set[str] = set(dialect.header) if dialect.decimal == "," else set()
        """Columns that are read as text and converted here: polars does not parse NA, blanks, or 0.5 among integers."""

    def columns(
        self, block: bytes, names: Sequence[str], integers: frozenset[str]
    ) -> tuple[int, list[ColumnEntries]] | None:
        """Rows, and for each column its entries, and which rows have one where not all have.

        Columns among `integers` give integers where all their entries in the block are; the others floats.
        """
        import polars as pl

        if not block or block.isspace():
            return None
        kinds = {name: pl.Int64 if name in integers else pl.Float64 for name in names}
        for odd in (self._odd & set(names), set(names)):
            try:
                frame = self._read(block, kinds | dict.fromkeys(odd, pl.String))
                columns = [self._numbers(frame[n], n, k) if n in odd else frame[n] for n, k in kinds.items()]
            except pl.exceptions.PolarsError:
                continue
            if not self._is_whole(block, frame.height):
                return None
            return frame.height, [_entries_of_polars(column) for column in columns]
        return None

    def filled_entries(self, block: bytes, names: Sequence[str]) -> dict[str, list[str]] | None:
        """Some entries of each column that are not missing, as they are written."""
        import polars as pl

        if not block or block.isspace():
            return {}
        try:
            frame = self._read(block, dict.fromkeys(names, pl.String))
        except pl.exceptions.PolarsError:
            return None
        return {name: _unless_missing(frame[name]).drop_nulls().head(1000).to_list() for name in names}

    def _read(self, block: bytes, kinds: dict[str, Any]) -> Any:
        import polars as pl

        frame = pl.read_csv(
            block,
            has_header=False,
            schema={str(i): kinds.get(name, pl.String) for name, i in self._index.items()},
            columns=sorted(self._index[name] for name in kinds),
            separator=self._dialect.separator,
        )
        return frame.rename({str(self._index[name]): name for name in kinds})

    def _numbers(self, written: Any, name: str, kind: Any) -> Any:
        """Convert the entries one by one: without blanks around them, and null for every way to write a missing one."""
        texts = _unless_missing(written)
        numbers = self._cast(texts, kind)
        if numbers.dtype != kind or texts.null_count() > written.null_count() or (texts != written).any():
            self._odd.add(name)
        return numbers

    def _cast(self, texts: Any, kind: Any) -> Any:
        import polars as pl

        for integer in (pl.Int64, pl.UInt64) if kind == pl.Int64 else ():
            numbers = texts.cast(integer, strict=False)
            if numbers.null_count() == texts.null_count():
                return numbers
        if self._dialect.decimal == ",":
            points = texts.str.contains(".", literal=True).fill_null(False)
            texts = texts.str.replace(",", ".", literal=True).set(points, "no number")
        return texts.cast(pl.Float64)

    def _is_whole(self, block: bytes, rows: int) -> bool:
        """Whether no row lacks entries (polars would fill them in), by counting the separators outside quotes."""
        expected = rows * (len(self._index) - 1)
        separators = _count(block, self._dialect.separator)
        if separators != expected and b'"' in block:
            separators -= _count(b"".join(_QUOTED.findall(block)), self._dialect.separator)
        return separators == expected


def _unless_missing(written: Any) -> Any:
    texts = written.str.strip_chars()
    return texts.set(texts.str.to_lowercase().is_in(list(MISSING)).fill_null(False), None)


def _count(text: bytes, separator: str) -> int:
    return int(np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == ord(separator)))


def _entries_of_polars(column: Any) -> ColumnEntries:
    if not column.null_count():
        return column.rechunk().to_numpy(allow_copy=False), None
    return column.drop_nulls().rechunk().to_numpy(allow_copy=False), column.is_not_null().to_numpy()


BLOCK = 1 << 23
_LONGEST = 1 << 26
_BOM = b"\xef\xbb\xbf"


def as_utf8(encoding: str) -> str:
    """The way to a file in UTF-8."""
    return f"convert it, as with iconv -f {encoding} -t utf-8"


def compressed(place: Path) -> bool:
    """Whether the ending says so."""
    return place.suffix.lower() == ".gz"


def blocks(place: Path) -> Iterator[tuple[bytes, int]]:
    """Blocks of whole lines, and how many bytes of the file each stands for; a block may be empty.

    The file is decompressed where its ending says so, and cut behind line ends that stand in no quoted entry.
    Block k ends behind the last line that ends within the first ``(k + 1) * BLOCK`` bytes of text, so that n
    bytes of text give ``ceil(n / BLOCK)`` blocks.
    """
    rest, done = b"", 0
    # Two buffers, used again and again: fresh memory for every block would cost more than reading.
    buffer, spare = bytearray(BLOCK), bytearray(BLOCK)
    with place.open("rb") as file:
        text: Any = gzip.GzipFile(fileobj=file) if compressed(place) else file
        read = _fill(text, buffer, place)
        if read.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError(f"{place}: written in UTF-16, expected UTF-8: {as_utf8('utf-16')}")
        read = read[len(_BOM) :] if read.startswith(_BOM) else read
        while read:
            buffer, spare = spare, buffer
            following = _fill(text, buffer, place)
            end = whole_lines(read, quoted=rest.count(b'"') % 2 == 1) if following else len(read)
            block = b"".join((rest, memoryview(read)[:end])) if end else b""
            rest = bytes(read[end:]) if end else rest + read
            if len(rest) > _LONGEST:
                raise DataError(f"{place}: a line is longer than {_LONGEST >> 20} MB; is a quote not closed?")
            before, done = done, file.tell()
            yield block, done - before
            read = following


def whole_lines(text: bytes | bytearray, *, quoted: bool = False) -> int:
    """Where the last line ends that does not end inside quotes; 0 when there is none.

    `quoted` says that the text begins inside quotes.
    """
    end = text.rfind(b"\n") + 1
    if not quoted and b'"' not in text:
        return end
    quotes = text.count(b'"', 0, end) + quoted
    while end and quotes % 2:
        before = text.rfind(b"\n", 0, end - 1) + 1
        quotes -= text.count(b'"', before, end)
        end = before
    return end


def _fill(file: Any, buffer: bytearray, place: Path) -> bytearray:
    """Fill the buffer, or give a shorter one at the end of the file."""
    try:
        size = file.readinto(buffer)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{place}: cannot be read to its end ({error})") from None
    return buffer if size == len(buffer) else buffer[:size]


T = TypeVar("T")
_WORKERS = 2


def in_order(tasks: Iterable[Callable[[], T]]) -> Generator[T]:
    """The results of the tasks in their order, from two threads; at most three are begun and not taken.

    Examples
    --------
    >>> list(in_order([lambda: 1, lambda: 2, lambda: 3]))
    [1, 2, 3]
    """
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="wellposed-read")
    try:
        for task in tasks:
            waiting.append(pool.submit(task))
            if len(waiting) > _WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
