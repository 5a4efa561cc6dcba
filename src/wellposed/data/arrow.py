"""Whatever speaks Arrow as parts of a table: record batches to NumPy columns, IPC files, tables in memory and streams."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, MissingDependency
from .column_names import listed, places_of, repeated
from .paths import stamp
from .source import EMPTY, FEWEST_ROWS, PIECE_BYTES, ColumnEntries, Part, Piece


def columns_of(batch: Any, names: Sequence[str], *, bytes: int = 0) -> Piece:
    """Columns of numbers of a ``pyarrow.RecordBatch``, as a piece that stands for so many bytes of its source.

    They are of the stored dtype, without a copy where there are no nulls; a column of nulls alone is one of numbers
    without entries.

    Raises
    ------
    DataError
        When two columns have one name, or a column of `names` is lacking or holds no numbers.

    Examples
    --------
    >>> import pyarrow as pa
    >>> batch = pa.record_batch({"n": pa.array([1, None]), "x": [0.5, 1.5], "word": ["a", "b"]})
    >>> piece = columns_of(batch, ["n", "x"])
    >>> [column.tolist() for column in piece.columns], piece.missing
    ([[1], [0.5, 1.5]], (1, 0))
    """
    _, _, left_alone = kinds_of(batch.schema)
    places = places_of(batch.schema.names)
    for name in names:
        if name not in places:
            raise DataError(f"column {name!r} is lacking: there is {listed(places)}")
        if left_alone.get(name, EMPTY) != EMPTY:
            raise DataError(f"column {name!r} holds no numbers but {left_alone[name]}")
    return Piece.of(
        [_entries(batch.column(places[name])) for name in names], rows=batch.num_rows, bytes=bytes
    )


INDEX = "the index of rows of pandas: to have it as a column, write the frame after reset_index()"
_UNNAMED_INDEX = re.compile(r"__index_level_\d+__")


def kinds_of(schema: Any) -> tuple[tuple[str, ...], tuple[bool, ...], dict[str, str]]:
    """Of a ``pyarrow.Schema``: the names of the numbers, which are integers, and the others with the reason.

    Raises
    ------
    DataError
        When two columns have one name.
    """
    import pyarrow.types as kind

    twice = repeated(schema.names)
    if twice:
        raise DataError(f"two columns are named {listed(map(repr, twice))}: rename one")
    index = _index_of_pandas(schema)
    why = {field.name: INDEX if field.name in index else why_left_alone(field.type) for field in schema}
    numbers = tuple(name for name, reason in why.items() if reason is None)
    integers = tuple(bool(kind.is_integer(schema.field(name).type)) for name in numbers)
    return numbers, integers, {name: reason for name, reason in why.items() if reason is not None}


def _index_of_pandas(schema: Any) -> set[str]:
    """The columns of numbers that pandas wrote for the index of its rows, and gives back as that."""
    unnamed = {name for name in schema.names if _UNNAMED_INDEX.fullmatch(name)}
    try:
        index = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    except (ValueError, AttributeError):  # not as pandas writes it
        return unnamed
    return unnamed | {name for name in index if isinstance(name, str)}


class ArrowPart(Part):
    """A part whose columns a ``pyarrow.Schema`` describes."""

    def _describe(self, schema: Any) -> None:
        numbers, integers, self.left_alone = kinds_of(schema)
        self.columns, self.numbers = tuple(schema.names), dict(zip(numbers, integers, strict=True))


def why_left_alone(type_: Any) -> str | None:
    """Why a column of this ``pyarrow.DataType`` is not normalised; None when it holds numbers."""
    import pyarrow.types as kind

    if kind.is_integer(type_) or kind.is_floating(type_):
        return None
    for holds, why in _REASONS:
        if getattr(kind, holds)(type_):
            return why
    return str(type_)


_REASONS = (
    ("is_boolean", "boolean"),
    ("is_string", "text"),
    ("is_large_string", "text"),
    ("is_string_view", "text"),
    ("is_dictionary", "categories"),
    ("is_date", "date"),
    ("is_timestamp", "date and time"),
    ("is_time", "time of day"),
    ("is_duration", "duration"),
    ("is_decimal", "decimal: cast it to float64 to have it normalised"),
    ("is_list", "lists"),
    ("is_large_list", "lists"),
    ("is_fixed_size_list", "lists"),
    ("is_struct", "records"),
    ("is_map", "maps"),
    ("is_null", EMPTY),
)


def pyarrow() -> Any:
    """The module, or an error that says how to get it."""
    try:
        import pyarrow
    except ImportError:
        raise MissingDependency(
            "this kind of data is read with pyarrow, which is not installed: pip install 'wellposed[files]'"
        ) from None
    return pyarrow


def _entries(array: Any) -> ColumnEntries:
    """What a column holds beside nulls, and which rows these are where not all."""
    import pyarrow.types as kind

    if kind.is_null(array.type):
        return np.empty(0, dtype=np.int8), np.zeros(len(array), dtype=bool)
    # DLPack shares the memory as `to_numpy` does, which would import pandas, in half a second.
    if not array.null_count:
        return np.from_dlpack(array), None
    return np.from_dlpack(array.drop_null()), np.from_dlpack(array.is_valid().cast("uint8")).view(np.bool_)


class IpcPart(ArrowPart):
    """An IPC file or stream, cut into record batches and these into slices."""

    def __init__(self, place: Path) -> None:
        self.label, self._place = str(place), place
        with self._opened() as reader:
            self.schema = reader.schema
        self._describe(self.schema)
        self.bytes, self.identity = place.stat().st_size, stamp(place)

    def count(self, names: Sequence[str]) -> int:
        return sum(1 for _ in self._slices())

    def pieces(self, names: Sequence[str], start: int) -> Iterator[Piece]:
        for batch, size in islice(self._slices(), start, None):
            yield columns_of(batch, names, bytes=size)

    def batches(self) -> Iterator[Any]:
        """All columns, as record batches."""
        return (batch for batch, _ in self._slices())

    @contextmanager
    def writer(self, place: Path, schema: Any) -> Iterator[Any]:
        """Writes record batches to another file."""
        pyarrow()
        from pyarrow import ipc

        with ipc.new_file(str(place), schema) as writer:
            yield writer

    def _slices(self) -> Iterator[tuple[Any, int]]:
        """Slices of record batches, and how many bytes of the file each stands for."""
        with self._opened() as reader:
            end = 0
            for batch, here in _batches_of_file(reader, self.bytes or 0):
                begin, end = end, max(end, here)
                step = max(1, PIECE_BYTES // max(1, batch.nbytes // max(1, batch.num_rows)))
                for first in range(0, batch.num_rows, step):
                    part = batch.slice(first, step)
                    done = first + part.num_rows
                    size = (end - begin) * done // batch.num_rows - (end - begin) * first // batch.num_rows
                    yield part, size

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        pa = pyarrow()
        from pyarrow import ipc

        try:
            with pa.memory_map(str(self._place)) as mapped:
                try:
                    reader = ipc.open_file(mapped)
                except pa.ArrowInvalid:
                    mapped.seek(0)
                    reader = ipc.open_stream(mapped)
                yield reader
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self._place}: not a readable Arrow file ({error})") from None


def _batches_of_file(reader: Any, size: int) -> Iterator[tuple[Any, int]]:
    """Record batches, and about how many bytes of the file are behind us."""
    if not hasattr(reader, "num_record_batches"):
        for batch in reader:
            yield batch, size
        return
    for i in range(reader.num_record_batches):
        yield reader.get_batch(i), size * (i + 1) // reader.num_record_batches


_ROWS = 10_000
"""Rows of a Hugging Face dataset read at a time; its rows may be images."""


class StreamPart(ArrowPart):
    """Record batches, cut into slices; `batches` opens the stream, `once` says that it can be read only once."""

    def __init__(
        self, batches: Callable[[], Any], *, label: str, rows: int | None = None, once: bool = False
    ) -> None:
        self.label, self.rows, self._batches_of_tables, self._once = label, rows, batches, once
        self._opened: Any = batches()
        self._describe(self._opened.schema)

    def count(self, names: Sequence[str]) -> int:
        return sum(1 for _ in self._slices())

    def pieces(self, names: Sequence[str], start: int) -> Iterator[Piece]:
        for batch in islice(self._slices(), start, None):
            yield columns_of(batch, names, bytes=batch.nbytes)

    def _slices(self) -> Iterator[Any]:
        for batch in self._reader():
            step = max(FEWEST_ROWS, PIECE_BYTES // (8 * max(1, batch.num_columns)))
            for first in range(0, batch.num_rows, step):
                yield batch.slice(first, step)

    def _reader(self) -> Any:
        reader, self._opened = self._opened, None
        if reader is None and self._once:
            raise DataError(f"the {self.label} was read already, and can be read only once: make another one")
        return self._batches_of_tables() if reader is None else reader


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
    return pa.RecordBatchReader.from_batches(schema, _batches_of_tables(tables))


def _from_scan(data: Any) -> Any:
    # By default up to 16 batches of 4 files are held, however large they are.
    return data.scanner(batch_size=FEWEST_ROWS, batch_readahead=2, fragment_readahead=1).to_reader()


def _from_dataset(data: Any) -> Any:
    pa = pyarrow()
    columns = getattr(data, "format", {}).get("columns")
    tables = data.with_format("arrow", **({"columns": columns} if columns else {})).iter(batch_size=_ROWS)
    first = next(tables, None)
    if first is None:
        raise DataError(f"the {type(data).__name__} is empty: expected at least one row")
    return pa.RecordBatchReader.from_batches(first.schema, _batches_of_tables(chain([first], tables)))


def _batches_of_tables(tables: Iterable[Any]) -> Iterator[Any]:
    for table in tables:
        yield from table.to_batches()
