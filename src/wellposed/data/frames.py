"""Data frames of pandas, polars and pyarrow: their columns as numbers, the same table with others, and pandas as a source."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .column_names import listed, places_of, printable, repeated
from .source import EMPTY, FEWEST_ROWS, PIECE_BYTES, ColumnEntries, Part, Piece, as_numbers


class Column(NamedTuple):
    """Numbers of a real dtype, NaN where they are null."""

    values: NDArray[Any]
    nulls: NDArray[np.bool_] | None
    """Which entries are null, where the table distinguishes null from NaN."""
    floating: np.dtype[Any]
    """What the column becomes when it is normalised: floats keep their dtype, the others become float32."""


class Table(Protocol):
    """One table, whoever made it."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def numbers(self, name: str) -> Column:
        """A column of numbers, or a `DataError` that names it and its type."""
        ...

    def replaced(self, columns: Mapping[str, Column]) -> Any:
        """The same kind of table with these columns, and the others as they are."""
        ...


def as_table(data: Any) -> Table | None:
    """`data` as a table that can be given back as it came, or None; nothing is imported to find out."""
    adapter = _adapter(data)
    return None if adapter is None else adapter(data)


def is_pandas(data: Any) -> bool:
    """Whether it is a ``pandas.DataFrame``; pandas is not imported to find out."""
    return _adapter(data) is _Pandas


def _no_numbers(name: str, kind: Any) -> DataError:
    return DataError(f"column {printable(name)} holds {printable(str(kind))}: expected real numbers")


def _check_unique(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = repeated(names)
    if twice:
        raise DataError(f"the table names {listed(twice)} twice: expected each name once")
    return names


class _Pandas:
    def __init__(self, data: Any) -> None:
        self._data = data
        self.names = _check_unique(tuple(str(c) for c in data.columns))
        self._places = places_of(self.names)

    def numbers(self, name: str) -> Column:
        series = self._data.iloc[:, self._places[name]]
        if series.dtype == object:
            return _of_objects(series.tolist(), name)
        if getattr(series.dtype, "kind", "O") not in "biuf":
            raise _no_numbers(name, series.dtype)
        becomes = np.dtype(f"f{series.dtype.itemsize}" if series.dtype.kind == "f" else np.float32)
        if isinstance(series.dtype, np.dtype):
            return Column(series.to_numpy(), None, becomes)
        wide = becomes if series.dtype.kind == "f" else np.float64
        return Column(series.to_numpy(dtype=wide, na_value=np.nan), series.isna().to_numpy(), becomes)

    def replaced(self, columns: Mapping[str, Column]) -> Any:
        out = self._data.copy(deep=False)
        for name, column in columns.items():
            i = self._places[name]
            out.isetitem(i, self._like(column, self._data.dtypes.iloc[i]))
        return out

    def _like(self, column: Column, before: Any) -> Any:
        if column.nulls is None:
            return column.values
        pandas = sys.modules["pandas"]
        if type(before).__name__ != "ArrowDtype":
            return pandas.arrays.FloatingArray(column.values, column.nulls)
        arrow = sys.modules["pyarrow"]
        return pandas.array(
            arrow.array(column.values, mask=column.nulls),
            dtype=pandas.ArrowDtype(arrow.from_numpy_dtype(column.floating)),
        )


def _of_objects(entries: list[Any], name: str) -> Column:
    """Python numbers, and None where there is none."""
    for entry in entries:
        if entry is not None and (isinstance(entry, bool) or not isinstance(entry, int | float | np.number)):
            raise _no_numbers(name, f"objects such as {str(entry)[:40]!r}")
    values = np.array([np.nan if entry is None else float(entry) for entry in entries], dtype=np.float64)
    return Column(values, None, values.dtype)


class _Polars:
    def __init__(self, data: Any) -> None:
        self._data = data
        self.names = tuple(data.columns)

    def numbers(self, name: str) -> Column:
        series = self._data.get_column(name)
        floats = series.dtype.is_float()
        if not (floats or series.dtype.is_integer() or series.dtype == sys.modules["polars"].Boolean):
            raise _no_numbers(name, series.dtype)
        nulls = series.is_null().to_numpy() if series.null_count() else None
        if nulls is not None and not floats:
            series = series.cast(sys.modules["polars"].Float64)
        values = series.to_numpy()
        return Column(values, nulls, values.dtype if floats else np.dtype(np.float32))

    def replaced(self, columns: Mapping[str, Column]) -> Any:
        polars = sys.modules["polars"]
        made = []
        for name, column in columns.items():
            values = polars.Series(name, column.values)
            if column.nulls is not None:
                values = values.set(polars.Series(column.nulls), None)
            made.append(values)
        return self._data.with_columns(made)


class _Arrow:
    def __init__(self, data: Any) -> None:
        self._data = data
        self.names = _check_unique(tuple(data.schema.names))
        self._places = places_of(self.names)

    def numbers(self, name: str) -> Column:
        types = sys.modules["pyarrow"].types
        column = self._data.column(self._places[name])
        floats = types.is_floating(column.type)
        if not (floats or types.is_integer(column.type) or types.is_boolean(column.type)):
            raise _no_numbers(name, column.type)
        nulls = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
        values = column.to_numpy(zero_copy_only=False)
        if values.dtype.kind == "O":  # booleans with nulls
            values = values.astype(np.float64)
        return Column(values, nulls, values.dtype if floats else np.dtype(np.float32))

    def replaced(self, columns: Mapping[str, Column]) -> Any:
        arrow, out = sys.modules["pyarrow"], self._data
        for name, column in columns.items():
            i, made = self._places[name], arrow.array(column.values, mask=column.nulls)
            out = out.set_column(i, out.schema.field(i).with_type(made.type), made)
        return out


_ADAPTERS: Mapping[tuple[str, str], type[_Pandas] | type[_Polars] | type[_Arrow]] = {
    ("pandas", "DataFrame"): _Pandas,
    ("polars", "DataFrame"): _Polars,
    ("pyarrow", "Table"): _Arrow,
    ("pyarrow", "RecordBatch"): _Arrow,
}


def _adapter(data: Any) -> type[_Pandas] | type[_Polars] | type[_Arrow] | None:
    keys = ((cls.__module__.partition(".")[0], cls.__name__) for cls in type(data).__mro__)
    return next((_ADAPTERS[key] for key in keys if key in _ADAPTERS), None)


class PandasPart(Part):
    """A ``pandas.DataFrame``; needs no Arrow."""

    def __init__(self, frame: Any) -> None:
        self.label, self._frame = "DataFrame", frame
        self.columns = tuple(str(name) for name in frame.columns)
        twice = repeated(self.columns)
        if twice:
            raise DataError(f"two columns are named {listed(map(repr, twice))}: rename one")
        self.numbers, self.left_alone = {}, {}
        for i, name in enumerate(self.columns):
            kind = _kind(frame.iloc[:, i])
            if kind in ("integers", "numbers"):
                self.numbers[name] = kind == "integers"
            else:
                self.left_alone[name] = kind
        self.rows = len(frame)
        self._places = places_of(self.columns)
        self.bytes = sum(int(frame.iloc[:, self._places[name]].nbytes) for name in self.numbers)
        self._step = max(FEWEST_ROWS, PIECE_BYTES // (8 * max(1, len(self.columns))))

    def count(self, names: Sequence[str]) -> int:
        return -(-len(self._frame) // self._step)

    def pieces(self, names: Sequence[str], start: int) -> Iterator[Piece]:
        places = [self._places[name] for name in names]
        for first in range(start * self._step, len(self._frame), self._step):
            rows = self._frame.iloc[first : first + self._step]
            entries = [_entries(rows.iloc[:, i], self.columns[i], first) for i in places]
            yield Piece.of(entries, rows=len(rows), bytes=sum(column.nbytes for column, _ in entries))


_INFERRED = {
    "integer": "integers",
    "floating": "numbers",
    "mixed-integer-float": "numbers",
    "string": "text",
    "boolean": "boolean",
    "empty": EMPTY,
    "decimal": "decimal: cast it to float64 to have it normalised",
    "date": "date",
    "datetime": "date and time",
    "datetime64": "date and time",
    "categorical": "categories",
}


def _kind(series: Any) -> str:
    """What a column holds: "integers", "numbers", or why it is left alone."""
    import pandas.api.types as kind

    dtype = series.dtype
    if _is_object(dtype):
        return _kind_of_objects(series)
    if kind.is_bool_dtype(dtype):
        return "boolean"
    if type(dtype).__name__ == "CategoricalDtype":
        return "categories"
    if kind.is_integer_dtype(dtype):
        return "integers"
    if kind.is_float_dtype(dtype):
        return "numbers"
    if kind.is_datetime64_any_dtype(dtype):
        return "date and time"
    if kind.is_string_dtype(dtype):
        return "text"
    return str(dtype)


def _kind_of_objects(series: Any) -> str:
    import pandas.api.types as kind

    inferred = kind.infer_dtype(series, skipna=True)
    if inferred in _INFERRED:
        return _INFERRED[inferred]
    # Numbers with an entry that is none are an error when they are read, not a column to overlook.
    entries = series.dropna()
    numbers = sum(isinstance(entry, int | float | np.number) for entry in entries)
    return "numbers" if 2 * numbers > len(entries) else f"Python objects ({inferred})"


def _entries(series: Any, name: str, first: int) -> ColumnEntries:
    """The entries that are not null, and which rows these are; NaN in a column of NumPy floats stays."""
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and not _is_object(dtype):
        return series.to_numpy(), None
    present = series.notna().to_numpy()
    filled = series[present]
    if _is_object(dtype):
        entries = _numbers_of_objects(filled.tolist(), np.flatnonzero(present) + first, name)
    else:
        entries = filled.to_numpy(dtype=getattr(dtype, "numpy_dtype", None) or np.dtype(np.float64))
    return entries, None if present.all() else present


def _is_object(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind == "O"


def _numbers_of_objects(values: list[Any], rows: NDArray[np.int64], name: str) -> NDArray[Any]:
    for value, row in zip(values, rows, strict=True):
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise DataError(
                f"column {name!r} holds {value!r} in row {row}, expected a number as in most rows: mend the entry, "
                "or leave the column out with columns="
            )
    return as_numbers([v.item() if isinstance(v, np.number) else v for v in values], integers=True)
