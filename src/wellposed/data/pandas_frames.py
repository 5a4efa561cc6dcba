"""pandas tables, as parts of a table: column by column, so that NumPy columns are not copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .arrow import EMPTY
from .column_names import listed, places_of, repeated
from .entries import Entries, as_numbers
from .source import FEWEST_ROWS, PIECE_BYTES, Piece
from .table import Part


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
        self.bytes = sum(self._nbytes(name) for name in self.numbers)
        self._step = max(FEWEST_ROWS, PIECE_BYTES // (8 * max(1, len(self.columns))))

    def count(self, names: Sequence[str]) -> int:
        return -(-len(self._frame) // self._step)

    def pieces(self, names: Sequence[str], start: int) -> Iterator[Piece]:
        places = [self._places[name] for name in names]
        for first in range(start * self._step, len(self._frame), self._step):
            rows = self._frame.iloc[first : first + self._step]
            held = [_entries(rows.iloc[:, i], self.columns[i], first) for i in places]
            yield Piece(
                columns=[column for column, _ in held],
                missing=[len(rows) - len(column) for column, _ in held],
                present=[present for _, present in held],
                rows=len(rows),
                bytes=sum(column.nbytes for column, _ in held),
            )

    def _nbytes(self, name: str) -> int:
        return int(self._frame.iloc[:, self._places[name]].nbytes)


def is_pandas(data: Any) -> bool:
    """Whether it is a ``pandas.DataFrame``; pandas is not imported to find out."""
    return any(
        cls.__module__.partition(".")[0] == "pandas" and cls.__name__ == "DataFrame"
        for cls in type(data).__mro__
    )


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
    held = series.dropna()
    numbers = sum(isinstance(entry, int | float | np.number) for entry in held)
    return "numbers" if 2 * numbers > len(held) else f"Python objects ({inferred})"


def _entries(series: Any, name: str, first: int) -> Entries:
    """The entries that are not null, and which rows these are; NaN in a column of NumPy floats stays."""
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and not _is_object(dtype):
        return series.to_numpy(), None
    present = series.notna().to_numpy()
    held = series[present]
    if _is_object(dtype):
        entries = _numbers(held.tolist(), np.flatnonzero(present) + first, name)
    else:
        entries = held.to_numpy(dtype=getattr(dtype, "numpy_dtype", None) or np.dtype(np.float64))
    return entries, None if present.all() else present


def _is_object(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind == "O"


def _numbers(values: list[Any], rows: NDArray[np.int64], name: str) -> NDArray[Any]:
    for value, row in zip(values, rows, strict=True):
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise DataError(
                f"column {name!r} holds {value!r} in row {row}, expected a number as in most rows: mend the entry, "
                "or leave the column out with columns="
            )
    return as_numbers([v.item() if isinstance(v, np.number) else v for v in values], integers=True)
