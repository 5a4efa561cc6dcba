"""Tables in memory and streams of record batches, as parts of a table: whatever speaks Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..errors import DataError
from .arrow import columns_of, pyarrow
from .column_names import listed
from .source import FEWEST_ROWS, PIECE_BYTES, Piece
from .table import Part

_ROWS = 10_000
"""Rows of a Hugging Face dataset read at a time; its rows may be images."""


class StreamPart(Part):
    """Record batches, cut into slices; `batches` opens the stream, `once` says that it can be read only once."""

    def __init__(
        self, batches: Callable[[], Any], *, label: str, rows: int | None = None, once: bool = False
    ) -> None:
        self.label, self.rows, self._batches, self._once = label, rows, batches, once
        self._opened: Any = batches()
        self._describe(self._opened.schema)

    def count(self, names: Sequence[str]) -> int:
        return sum(1 for _ in self._slices())

    def pieces(self, names: Sequence[str], start: int) -> Iterator[Piece]:
        for number, batch in enumerate(self._slices()):
            if number >= start:
                yield columns_of(batch, names).piece(bytes=batch.nbytes)

    def _slices(self) -> Iterator[Any]:
        for batch in self._reader():
            step = max(FEWEST_ROWS, PIECE_BYTES // (8 * max(1, batch.num_columns)))
            for first in range(0, batch.num_rows, step):
                yield batch.slice(first, step)

    def _reader(self) -> Any:
        reader, self._opened = self._opened, None
        if reader is None and self._once:
            raise DataError(f"the {self.label} was read already, and can be read only once: make another one")
        return self._batches() if reader is None else reader


def stream_part(data: Any) -> StreamPart | None:
    """The part for an object that speaks Arrow, a polars LazyFrame, a dataset of pyarrow or Hugging Face; None for others."""
    label = type(data).__name__
    if hasattr(data, "__arrow_c_stream__"):
        rows = getattr(data, "num_rows", None) or getattr(data, "height", None)
        once = label == "RecordBatchReader"
        return StreamPart(
            lambda: _from_stream(data), label=label, rows=rows if isinstance(rows, int) else None, once=once
        )
    if hasattr(data, "__arrow_c_array__"):
        return StreamPart(lambda: _from_array(data), label=label)
    package = type(data).__module__.partition(".")[0]
    if package == "polars" and label == "LazyFrame":
        return StreamPart(lambda: _from_lazy(data), label=label)
    if package == "pyarrow" and hasattr(data, "scanner"):
        return StreamPart(lambda: _from_scan(data), label=label)
    if package == "datasets" and isinstance(data, dict):
        splits = listed(map(repr, data))
        raise DataError(
            f"the {label} holds the splits {splits}: give one of them, such as data[{next(iter(data), 'train')!r}]"
        )
    if package == "datasets" and hasattr(data, "with_format"):
        return StreamPart(lambda: _from_dataset(data), label=label)
    return None


def _from_stream(data: Any) -> Any:
    pa = pyarrow()
    try:
        return pa.RecordBatchReader.from_stream(data)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError):
        # A single column, such as a polars Series.
        column = pa.chunked_array(data)
        return pa.table({str(getattr(data, "name", "") or "0"): column}).to_reader()


def _from_array(data: Any) -> Any:
    pa = pyarrow()
    try:
        batch = pa.record_batch(data)
    except (pa.ArrowInvalid, TypeError, ValueError):
        batch = pa.record_batch({"0": pa.array(data)})
    return pa.RecordBatchReader.from_batches(batch.schema, [batch])


def _from_lazy(data: Any) -> Any:
    pa = pyarrow()
    schema = data.head(0).collect().to_arrow().schema
    tables = (frame.to_arrow() for frame in data.collect_batches(maintain_order=True))
    return pa.RecordBatchReader.from_batches(schema, _batches(tables))


def _from_scan(data: Any) -> Any:
    # By default up to 16 batches of 4 files are held, however large they are.
    return data.scanner(batch_size=FEWEST_ROWS, batch_readahead=2, fragment_readahead=1).to_reader()


def _from_dataset(data: Any) -> Any:
    pa = pyarrow()
    columns = getattr(data, "format", {}).get("columns")
    held = data.with_format("arrow", **({"columns": columns} if columns else {})).iter(batch_size=_ROWS)
    try:
        first = next(held)
    except StopIteration:
        raise DataError(f"the {type(data).__name__} is empty: expected at least one row") from None
    return pa.RecordBatchReader.from_batches(first.schema, _batches(_chain(first, held)))


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _batches(tables: Iterator[Any]) -> Iterator[Any]:
    for table in tables:
        yield from table.to_batches()
