"""Arrow record batches as NumPy columns: what counts as a number, and what is left alone."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, MissingDependency
from .column_names import listed, repeated
from .entries import Entries
from .source import Piece


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """The columns of numbers in a record batch, in order, nulls left out and counted.

    Examples
    --------
    >>> import pyarrow as pa
    >>> batch = pa.record_batch({"n": pa.array([1, None]), "x": [0.5, 1.5], "word": ["a", "b"]})
    >>> columns = columns_of(batch)
    >>> columns.names, [a.tolist() for a in columns.arrays], columns.missing, columns.left_alone
    (('n', 'x'), [[1], [0.5, 1.5]], (1, 0), {'word': 'text'})
    """

    names: tuple[str, ...]
    arrays: tuple[NDArray[Any], ...]
    """1-d, of the stored dtype, without a copy where there are no nulls."""
    missing: tuple[int, ...]
    """Nulls of each column."""
    present: tuple[NDArray[np.bool_] | None, ...]
    """Which rows have an entry; None for columns without nulls."""
    integers: tuple[bool, ...]
    """Stored as integers."""
    left_alone: dict[str, str]
    """Name of each other column, and why it is no number: "text", "boolean", "date", ..."""
    rows: int

    def piece(self, *, bytes: int = 0) -> Piece:
        """The columns as a piece that stands for so many bytes of its source."""
        return Piece(
            columns=self.arrays, missing=self.missing, present=self.present, rows=self.rows, bytes=bytes
        )


def columns_of(batch: Any, names: Sequence[str] | None = None) -> Columns:
    """The columns of numbers in a ``pyarrow.RecordBatch``.

    Parameters
    ----------
    batch
        The record batch.
    names
        The columns that are numbers, where that is decided already; a column of nulls alone is then a column
        of numbers without entries. By default the types of the batch decide.

    Raises
    ------
    DataError
        When two columns have one name, or a column of `names` is lacking or holds no numbers.
    """
    numbers, integers, left_alone = kinds_of(batch.schema)
    wanted = tuple(numbers) if names is None else tuple(names)
    found = {name: i for i, name in enumerate(batch.schema.names)}
    for name in wanted:
        if name not in found:
            raise DataError(f"column {name!r} is lacking: there is {listed(found)}")
        if left_alone.get(name, EMPTY) != EMPTY:
            raise DataError(f"column {name!r} holds no numbers but {left_alone[name]}")
    entries = [_entries(batch.column(found[name])) for name in wanted]
    stored = dict(zip(numbers, integers, strict=True))
    return Columns(
        names=wanted,
        arrays=tuple(array for array, _ in entries),
        missing=tuple(batch.num_rows - len(array) for array, _ in entries),
        present=tuple(present for _, present in entries),
        integers=tuple(stored.get(n, False) for n in wanted),
        left_alone={n: why for n, why in left_alone.items() if n not in wanted},
        rows=batch.num_rows,
    )


EMPTY = "empty: it holds nulls alone"
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
        told = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    except (ValueError, AttributeError):  # not as pandas writes it
        return unnamed
    return unnamed | {name for name in told if isinstance(name, str)}


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


def _entries(array: Any) -> Entries:
    """What a column holds beside nulls, and which rows these are where not all."""
    import pyarrow.types as kind

    if kind.is_null(array.type):
        return np.empty(0, dtype=np.int8), np.zeros(len(array), dtype=bool)
    # DLPack shares the memory as `to_numpy` does, which would import pandas, in half a second.
    if not array.null_count:
        return np.from_dlpack(array), None
    return np.from_dlpack(array.drop_null()), np.from_dlpack(array.is_valid().cast("uint8")).view(np.bool_)
