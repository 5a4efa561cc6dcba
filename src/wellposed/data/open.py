"""`open_source`: the source for files, data frames and whatever else speaks Arrow, by their kind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from ..lazy import lazy
from .arrow import IpcPart, stream_part
from .frames import PandasPart, is_pandas
from .paths import files_of, kind_of, partitions_of
from .source import Part, Source, TableSource

csv_files = lazy("wellposed.data.csv_files")
npy = lazy("wellposed.data.npy")
parquet = lazy("wellposed.data.parquet")


def open_source(data: Any, *, key: str | None = None, numbers: Sequence[str] = ()) -> Source | None:
    """The source for a path, a folder, a pattern, or a table that speaks Arrow; None for anything else.

    Parameters
    ----------
    data
        A path to ``.parquet``, ``.csv``, ``.tsv`` (also ``.gz``), ``.npy``, ``.npz``, ``.arrow``,
        ``.feather``; a folder of such files or a pattern (``train/*.parquet``), which must all have the same
        columns; a list of paths; an object with ``__arrow_c_stream__`` (pandas, polars, pyarrow, DuckDB).
    key
        Which array of an ``.npz``; by default the only one, or the only one with a usual name.
    numbers
        Columns of a table that are known to hold numbers: one without entries is then a column of numbers
        that are all missing.

    Raises
    ------
    DataError
        When a file is not there, damaged or empty, or files differ in their columns.
    ArgumentError
        When the kind of file is not known, or there is no array `key`.
    """
    if isinstance(data, Source):
        return data
    paths = _paths(data)
    if paths is not None:
        return _of_files(
            {place: path for path in paths for place in files_of(path)}, _label(paths), key, numbers
        )
    if key is not None:
        raise ArgumentError(f"key={key!r} is for .npz files, and the data are a {type(data).__name__}")
    part = PandasPart(data) if is_pandas(data) else stream_part(data)
    return None if part is None else TableSource([part], label=part.label, numbers=numbers)


def _paths(data: Any) -> list[Any] | None:
    if isinstance(data, str | os.PathLike):
        return [data]
    if isinstance(data, list | tuple) and data and all(isinstance(d, str | os.PathLike) for d in data):
        return list(data)
    return None


def _label(paths: Sequence[Any]) -> str:
    return ", ".join(map(str, paths[:3])) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def _of_files(places: dict[Path, Any], label: str, key: str | None, numbers: Sequence[str]) -> Source:
    """The source for files, each of which comes from the path that was given."""
    kinds = sorted({kind_of(place) for place in places})
    if len(kinds) > 1:
        raise ArgumentError(f"{label}: files of the kinds {', '.join(kinds)}: expected one kind")
    if key is not None and kinds != ["npz"]:
        raise ArgumentError(f"key={key!r} is for .npz files, and {label} is none")
    if kinds[0] in ("npy", "npz"):
        return npy.ArraySource(list(places), label=label, key=key)
    parts = [_part(place, kinds[0], Path(given)) for place, given in places.items()]
    return TableSource(parts, label=label, numbers=numbers)


def _part(place: Path, kind: str, given: Path) -> Part:
    part: Part = part_of(place, kind)
    if given.is_dir():
        part.add_folder_names(partitions_of(place, given))
    return part


def part_of(place: Path, kind: str) -> Any:
    """One file of a table, of the kind that `paths.kind_of` gives: a `ParquetPart`, an `IpcPart` or a `TextPart`."""
    if kind == "parquet":
        return parquet.ParquetPart(place)
    if kind == "ipc":
        return IpcPart(place)
    assert kind == "csv", kind
    return csv_files.TextPart(place)
