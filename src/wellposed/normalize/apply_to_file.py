"""A file normalised into another of its kind, a part at a time: written whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import ArrayLike, NDArray

from ..arguments import flag
from ..arguments import path as path_of
from ..data.column_names import listed, places_of, printable
from ..data.csv_dialect import is_missing
from ..data.csv_files import compressed
from ..data.frames import as_table
from ..data.npy import Stored, stored
from ..data.open import part_of
from ..data.paths import ending_of, kind_of, replacing
from ..data.source import PIECE_BYTES
from ..errors import ArgumentError, DataError
from ..lazy import lazy
from ..own_files import is_same_file
from ._apply import apply as on_rows
from .fitted import FittedTransform

arrow = lazy("wellposed.data.arrow")

if TYPE_CHECKING:
    from ..data.csv_files import TextPart

_PIECE = PIECE_BYTES // 2


def apply(
    path: str | PathLike[str],
    normalizer: FittedTransform,
    out: str | PathLike[str],
    *,
    key: str | None = None,
    force: bool = False,
) -> tuple[str, ...]:
    """Normalise a file into another of the same kind.

    Floating-point columns keep their dtype, integers become float32. Columns that the normalizer does not touch,
    nulls, and in text entries that are missing, stay as they are. `out` is written whole or not at all.

    Parameters
    ----------
    path
        A ``.parquet``, ``.csv`` (also ``.gz``), ``.arrow``, ``.npy`` or ``.npz`` file.
    normalizer
        What to apply; the columns of a table are found by their names, in any order.
    out
        Where to write, with the same ending.
    key
        Which array of an ``.npz``.
    force
        Replace `out` where it is there: normalised data look like any other, so none is taken for an older result.

    Returns
    -------
    tuple of str
        The columns, or arrays, that were left as they were.

    Raises
    ------
    DataError
        When the file cannot be read, lacks columns, or `out` cannot be written.
    ArgumentError
        When `out` is the input itself, is there already, in no folder, or of another kind.
    """
    place, target, force = path_of(path, "path"), path_of(out, "out"), flag(force, "force")
    ending = ending_of(place)
    if not place.is_file():
        raise DataError(f"{place}: expected one file" if place.exists() else f"no such file: {place}")
    if not target.parent.is_dir():
        raise ArgumentError(f"out={str(out)!r}: no such folder")
    if not target.name.lower().endswith(ending):
        raise ArgumentError(f"out={str(out)!r}: expected a {ending} file, as the data are")
    if is_same_file(target, place):
        raise ArgumentError(
            f"out={str(out)!r} is the input itself: a second run would normalise twice; name another file"
        )
    if target.exists() and not force:
        raise ArgumentError(
            f"out={str(out)!r} is there, and normalised data look like any other: name another file, or replace it "
            "with --force (in Python, force=True)"
        )
    kind = kind_of(place)
    if kind in ("npy", "npz"):
        return _array(stored(place, key), normalizer, target)
    write = _text if kind == "csv" else _tabular
    return write(part_of(place, kind), normalizer, target)


def _wanted_of(normalizer: FittedTransform, columns: Sequence[str], label: str) -> tuple[str, ...]:
    """The columns of a table that the normalizer changes, in its order."""
    if normalizer.names is None:
        raise DataError(
            f"the normalizer has no names of columns, {label} has: fit it on a table, or give columns="
        )
    wanted = tuple(n for n, chosen in zip(normalizer.names, normalizer.selected.flat, strict=True) if chosen)
    there = set(columns)
    lacking = [name for name in wanted if name not in there]
    if lacking:
        raise DataError(
            f"{label} lacks {listed(lacking)}: expected the columns that the normalizer was fitted on"
        )
    return wanted


def _normalised(
    normalizer: FittedTransform, columns: Mapping[str, ArrayLike], rows: int
) -> dict[str, NDArray[np.float64]]:
    """The columns, NaN where they are missing, in float64; what the normalizer leaves alone is not needed."""
    places = places_of(normalizer.names or ())
    matrix = np.zeros((rows, len(places)))
    for name, values in columns.items():
        matrix[:, places[name]] = values
    result = on_rows(normalizer, matrix, inverse=False)
    return {name: result[:, places[name]] for name in columns}


def _array(array: Stored, normalizer: FittedTransform, target: Path) -> tuple[str, ...]:
    with replacing(target) as temporary:
        if array.key is None:
            with temporary.open("wb") as file:
                _write_array(file, array, normalizer)
        else:
            _write_archive(temporary, array, normalizer)
    return array.others


def _write_array(file: Any, array: Stored, normalizer: FittedTransform) -> None:
    dtype = array.dtype if array.dtype.kind == "f" else np.dtype(np.float32)
    # Not through a memory map: on a full disk that kills the process instead of raising.
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": array.shape}
    npy.write_array_header_2_0(file, header)
    for part in array.parts(max(1, _PIECE // max(1, array.sample_bytes))):
        file.write(
            np.ascontiguousarray(on_rows(normalizer, np.asarray(part), inverse=False), dtype=dtype).tobytes()
        )


def _write_archive(temporary: Path, array: Stored, normalizer: FittedTransform) -> None:
    with zipfile.ZipFile(array.place) as old, zipfile.ZipFile(temporary, "w") as new:
        for info in old.infolist():
            with new.open(_like(info), "w", force_zip64=True) as member:
                if info.filename == f"{array.key}.npy":
                    _write_array(member, array, normalizer)
                else:
                    with old.open(info) as source:
                        shutil.copyfileobj(source, member, _PIECE)


def _like(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    new = zipfile.ZipInfo(info.filename, info.date_time)
    new.compress_type = info.compress_type
    return new


def _text(part: TextPart, normalizer: FittedTransform, target: Path) -> tuple[str, ...]:
    header, comma = part.columns, part.dialect.decimal == ","
    wanted = _wanted_of(normalizer, header, part.label)
    place = places_of(header)
    places = {name: place[name] for name in wanted}
    with replacing(target) as temporary, _opened(temporary, packed=compressed(target)) as file:
        lines = io.TextIOWrapper(
            file, encoding="utf-8", errors="surrogateescape", newline="", write_through=True
        )
        lines.write(part.dialect.announced)
        writer = csv.writer(lines, delimiter=part.dialect.separator, lineterminator="\n")
        writer.writerow(header)
        for rows in part.rows_in_blocks():
            numbers = {name: part.values(name, rows) for name in wanted}
            for name, values in _normalised(normalizer, numbers, len(rows)).items():
                _put(rows, places[name], values, comma=comma)
            writer.writerows(row for _, row in rows)
        lines.detach()
    return tuple(name for name in header if name not in places)


def _put(rows: list[tuple[int, list[str]]], place: int, values: NDArray[np.float64], *, comma: bool) -> None:
    for (_, row), value in zip(rows, values.tolist(), strict=True):
        if value == value or not is_missing(row[place]):  # a missing entry stays as it was written
            row[place] = repr(value).replace(".", ",") if comma else repr(value)


@contextmanager
def _opened(place: Path, *, packed: bool) -> Iterator[BinaryIO]:
    if not packed:
        with place.open("wb") as file:
            yield file
        return
    with place.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", mtime=0, compresslevel=6) as text:
        yield text  # type: ignore[misc]


def _tabular(part: Any, normalizer: FittedTransform, target: Path) -> tuple[str, ...]:
    """Normalise a Parquet or Arrow file into another; gives the columns that were left as they were."""
    wanted = _wanted_of(normalizer, part.columns, part.label)
    schema = _schema(part.schema, wanted, part.label)
    with replacing(target) as temporary, part.writer(temporary, schema) as writer:
        for batch in part.batches():
            writer.write_batch(_batch(batch, wanted, normalizer))
    return tuple(name for name in part.columns if name not in wanted)


def _schema(schema: Any, wanted: tuple[str, ...], label: str) -> Any:
    """The schema, with float32 where integers were; refused where a column holds no numbers."""
    pa = arrow.pyarrow()
    for name in wanted:
        i = schema.get_field_index(name)
        field = schema.field(i)
        why = arrow.why_left_alone(field.type)
        if why is not None:
            raise DataError(f"{label}: column {printable(name)} holds {why}, expected numbers")
        if not pa.types.is_floating(field.type):
            schema = schema.set(i, field.with_type(pa.float32()))
    return schema


def _batch(batch: Any, wanted: tuple[str, ...], normalizer: FittedTransform) -> Any:
    table: Any = as_table(batch)
    columns = {name: table.numbers(name) for name in wanted}
    values = _normalised(normalizer, {n: c.values for n, c in columns.items()}, batch.num_rows)
    return table.replaced({n: c._replace(values=values[n].astype(c.floating)) for n, c in columns.items()})
