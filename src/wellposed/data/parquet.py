"""Parquet files, as parts of a table: row groups, some columns at a time, however large they were written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .arrow import ArrowPart, columns_of, pyarrow
from .paths import stamp
from .source import PIECE_BYTES, Piece

_FEWEST_COLUMNS = 8
"""Columns read together, so that they can be decoded in parallel. Of each, a page (a megabyte, as a rule) lies in
memory as it is stored and decompressed: of all columns of a wide file that would be gigabytes."""
_BUFFER = 1 << 16
_AT_ONCE, _LONG = 1 << 25, 1 << 24
"""Bytes of numbers at most that are decoded at once, on all cores, and make one piece; and from which small row groups make one: each
column of a piece has a cost of its own. More are decoded batch by batch, on one core and in less memory."""


@dataclass(frozen=True, kw_only=True)
class _Slice:
    """Rows of some columns in a row group, or in small ones that follow each other."""

    groups: tuple[int, ...]
    block: tuple[int, int]
    """The columns from the first of these numbers up to the second."""
    number: int
    """Of the slice, among those of the block in the row groups."""
    rows: int
    step: int
    """Rows of every slice of the block but the last."""


class ParquetPart(ArrowPart):
    """A Parquet file. Pieces are long in rows rather than wide: so a row group is decoded once, whatever its size."""

    def __init__(self, place: Path) -> None:
        self.label, self._place = str(place), place
        with self._opened() as file:
            self.schema = file.schema_arrow
            self._codec = _codec(file.metadata)
            self._groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        self._describe(self.schema)
        self.rows, self.bytes = sum(self._groups), place.stat().st_size
        self.identity = stamp(place)

    def count(self, names: Sequence[str]) -> int:
        return len(self._slices(names))

    def pieces(self, names: Sequence[str], start: int) -> Iterator[Piece]:
        slices = self._slices(names)
        entries = [s.rows * (s.block[1] - s.block[0]) for s in slices]
        total, read = max(1, sum(entries)), sum(entries[:start])
        decoded = self._decoded(slices[start:], names)
        for part, size_of_slice, batch in zip(slices[start:], entries[start:], decoded, strict=True):
            size = (self.bytes or 0) * (read + size_of_slice) // total - (self.bytes or 0) * read // total
            read += size_of_slice
            yield self._piece(part, batch, names, size)

    def batches(self) -> Iterator[Any]:
        """All columns, as record batches."""
        rows = max(1, PIECE_BYTES // (8 * max(1, len(self.columns))))
        with self._opened() as file, self._damage_named():
            yield from file.iter_batches(rows)

    @contextmanager
    def writer(self, place: Path, schema: Any) -> Iterator[Any]:
        """Writes record batches to another file, compressed as this one is."""
        from pyarrow.parquet import ParquetWriter

        with ParquetWriter(place, schema, compression=self._codec) as writer:
            yield writer

    def _slices(self, names: Sequence[str]) -> list[_Slice]:
        width = self._row_bytes(names) / len(names)
        slices = []
        for groups in self._together(self._row_bytes(names)):
            rows = sum(self._groups[i] for i in groups)
            small = rows * width * len(names) <= _AT_ONCE
            columns = max(_FEWEST_COLUMNS, int((_AT_ONCE if small else PIECE_BYTES) / (width * max(1, rows))))
            blocks = _evenly(len(names), -(-len(names) // columns))
            for block in blocks:
                row_bytes = self._row_bytes(names[slice(*block)])
                step = max(1, rows if rows * row_bytes <= _AT_ONCE else PIECE_BYTES // row_bytes)
                slices += [
                    _Slice(groups=groups, block=block, number=i, rows=min(step, rows - start), step=step)
                    for i, start in enumerate(range(0, rows, step))
                ]
        return slices

    def _together(self, row_bytes: int) -> Iterator[tuple[int, ...]]:
        """Row groups; small ones that follow each other are combined until they fill a piece."""
        groups: list[int] = []
        rows = 0
        for group, more in enumerate(self._groups):
            groups.append(group)
            rows += more
            if rows * row_bytes >= _LONG:
                yield tuple(groups)
                groups, rows = [], 0
        if groups:
            yield tuple(groups)

    def _row_bytes(self, names: Sequence[str]) -> int:
        return max(1, sum(_width(self.schema.field(name).type) for name in names))

    def _decoded(self, slices: list[_Slice], names: Sequence[str]) -> Iterator[Any]:
        """The record batch of each slice."""
        with self._opened() as file, self._damage_named():
            for _, parts in groupby(slices, key=lambda part: (part.groups, part.block)):
                first = next(parts)
                columns = list(names[slice(*first.block)])
                if self._row_bytes(columns) * sum(self._groups[i] for i in first.groups) <= _AT_ONCE:
                    yield _one_batch(file.read_row_groups(list(first.groups), columns=columns))
                else:
                    batches = file.iter_batches(first.step, row_groups=list(first.groups), columns=columns)
                    yield from islice(batches, first.number, None)

    def _piece(self, part: _Slice, batch: Any, names: Sequence[str], size: int) -> Piece:
        first, last = part.block
        piece = columns_of(batch, names[first:last], bytes=size)
        if last - first == len(names):
            return piece
        # Rows are counted, and whole rows given, by the first of the blocks.
        leading = first == 0
        before, after = first, len(names) - last
        nothing = np.empty(0, dtype=np.int8)
        return Piece(
            rows=piece.rows if leading else 0,
            columns=[*[nothing] * before, *piece.columns, *[nothing] * after],
            missing=[*[0] * before, *piece.missing, *[0] * after],
            whole_rows=partial(self._whole_rows, part, names) if leading else lambda: iter(()),
            bytes=size,
        )

    def _whole_rows(self, part: _Slice, names: Sequence[str]) -> Iterator[Piece]:
        """All columns of the rows of a slice."""
        rows = max(1, PIECE_BYTES // self._row_bytes(names))
        begin, at = part.number * part.step, 0
        end = begin + part.rows
        with self._opened() as file, self._damage_named():
            for batch in file.iter_batches(rows, row_groups=list(part.groups), columns=list(names)):
                first, last = max(begin - at, 0), min(end - at, batch.num_rows)
                if first < last:
                    yield columns_of(batch.slice(first, last - first), names)
                at += batch.num_rows
                if at >= end:
                    return

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not (isinstance(error, OSError) or type(error).__module__.startswith("pyarrow")):
                raise
            raise DataError(f"{self._place}: damaged ({' '.join(str(error).split())[:200]})") from None

    def _opened(self) -> Any:
        pa = pyarrow()
        from pyarrow.parquet import ParquetFile

        try:
            return ParquetFile(
                self._place, pre_buffer=False, buffer_size=_BUFFER, page_checksum_verification=True
            )
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self._place}: not a readable Parquet file ({error})") from None


def _evenly(count: int, parts: int) -> list[tuple[int, int]]:
    """The numbers below `count` in so many ranges, as long as each other or nearly."""
    bounds = [count * i // parts for i in range(parts + 1)]
    return list(pairwise(bounds))


def _width(type_: Any) -> int:
    """Bytes of an entry, 8 for what has no entries."""
    try:
        return max(1, type_.bit_width // 8)
    except ValueError:
        return 8


def _codec(metadata: Any) -> str:
    """The codec of the first column, by the name that the writer takes."""
    if not (metadata.num_row_groups and metadata.num_columns):
        return "snappy"
    name = metadata.row_group(0).column(0).compression.lower()
    return "none" if name == "uncompressed" else name


def _one_batch(table: Any) -> Any:
    """The table as one record batch; copied only where it lies in several row groups."""
    return table.combine_chunks().to_batches()[0]
