"""Files of data: ``.npy`` (mapped, not loaded), ``.npz``, and ``.csv`` with a header."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, DataError
from .normalizer import Normalizer

KINDS = (".csv", ".npy", ".npz")
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
_USUAL_KEYS = (
    "x",
    "X",
    "inputs",
    "train",
    "x_train",
    "X_train",
    "train_x",
    "data",
    "features",
    "images",
    "arr_0",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """What a file holds: numbers, the names of their columns, and what was left alone.

    A table goes straight into ``Normalizer.fit`` and ``Moments.of``.
    """

    values: NDArray[Any]
    """Read-only; a ``.npy`` file stays on disk."""
    columns: tuple[str, ...] | None
    """Names, when the file has them."""
    left_alone: tuple[str, ...] = ()
    """Columns of a ``.csv`` that are not numbers, other arrays of a ``.npz``."""
    key: str | None = None
    """Which array of a ``.npz`` this is."""
    path: Path

    def to_numpy(self) -> NDArray[Any]:
        return self.values


def read(path: str | PathLike[str], *, key: str | None = None) -> Table:
    """Read a file of data.

    Parameters
    ----------
    path
        ``.npy``, ``.npz`` or ``.csv``. A CSV has a header line; a column is numeric when every entry that is
        not missing (empty, NA, NaN, null, none, ?) is a number. Separators are the comma, semicolon or tab.
    key
        Which array of a ``.npz``; by default the only one, or one with a usual name (x, inputs, train, data).

    Raises
    ------
    DataError
        When the file is not there, damaged, empty, or holds no numbers.
    ArgumentError
        When its kind is not known.
    """
    place = _existing(Path(path))
    if place.suffix == ".csv":
        return _read_csv(place)
    if place.suffix == ".npy":
        return Table(values=_load(place, mmap_mode="r"), columns=None, path=place)
    return _read_npz(place, key)


def fit_file(
    path: str | PathLike[str],
    *,
    columns: Sequence[str] | Sequence[int] | None = None,
    split: str = "train",
    key: str | None = None,
) -> tuple[Normalizer, tuple[str, ...]]:
    """Fit on a file; gives the normalizer, and the names of what was left alone."""
    table = read(path, key=key)
    if table.columns is None and columns is not None:  # a command line gives numbers as text
        columns = [int(c) if isinstance(c, str) and c.isdecimal() else c for c in columns]  # type: ignore[misc]
    return Normalizer.fit(table, columns=columns, split=split, source=str(path)), table.left_alone


def apply(
    path: str | PathLike[str], normalizer: Normalizer, out: str | PathLike[str], *, key: str | None = None
) -> tuple[str, ...]:
    """Normalise a file into another of the same kind; gives the names of what was left as it was.

    Floating-point arrays keep their dtype, integers become float32. In a CSV, entries that are missing and
    columns that the normalizer does not touch stay as they were written. `out` is written whole or not at
    all.
    """
    place, target = _existing(Path(path)), Path(out)
    if not target.parent.is_dir():
        raise ArgumentError(f"out={str(out)!r}: no such folder")
    if target.suffix != place.suffix:
        raise ArgumentError(f"out={str(out)!r}: expected a {place.suffix} file, as the data are")
    if target.resolve() == place.resolve():
        raise ArgumentError(
            f"out={str(out)!r} is the input itself: a second run would normalise twice; name another file"
        )
    if place.suffix == ".csv":
        return _apply_csv(place, normalizer, target)
    if place.suffix == ".npy":
        return _apply_npy(place, normalizer, target)
    return _apply_npz(place, normalizer, target, key)


def _existing(place: Path) -> Path:
    if place.suffix not in KINDS:
        raise ArgumentError(
            f"{place}: files of kind {place.suffix!r} are not read; there is {', '.join(KINDS)}"
        )
    if not place.is_file():
        raise DataError(f"no such file: {place}")
    return place


def _load(place: Path, **options: Any) -> Any:
    try:
        return np.load(place, allow_pickle=False, **options)
    except (ValueError, EOFError, OSError, KeyError) as error:
        raise DataError(f"{place}: not a readable {place.suffix} file ({error})") from None
    except Exception as error:  # zipfile.BadZipFile and the zip's own decompression errors
        raise DataError(f"{place}: damaged ({type(error).__name__}: {error})") from None


def _read_npz(place: Path, key: str | None) -> Table:
    arrays = _npz_arrays(place)
    key = _npz_key(tuple(arrays), key, place)
    left = tuple(name for name in arrays if name != key)
    return Table(values=arrays[key], columns=None, left_alone=left, key=key, path=place)


def _npz_arrays(place: Path) -> dict[str, NDArray[Any]]:
    with _load(place) as held:
        if not hasattr(held, "files"):
            raise DataError(f"{place}: holds one array, expected an archive of named arrays")
        try:
            return {name: held[name] for name in held.files}
        except Exception as error:  # a damaged member, or one that needs pickle
            raise DataError(f"{place}: an array cannot be read ({error})") from None


def _npz_key(names: tuple[str, ...], key: str | None, place: Path) -> str:
    if key is not None and key not in names:
        raise ArgumentError(f"key={key!r} is not in {place}: there is {', '.join(names)}")
    if key is not None:
        return key
    usual = [n for n in names if n in _USUAL_KEYS]
    if len(names) == 1 or len(usual) == 1:
        return (usual or list(names))[0]
    raise DataError(f"{place} holds {', '.join(names) or 'no arrays'}: say which with key=")


def _read_csv(place: Path) -> Table:
    header, rows, _ = _csv_rows(place)
    numbers = {name: _numbers([row[i] for row in rows]) for i, name in enumerate(header)}
    numeric = {name: column for name, column in numbers.items() if column is not None}
    if not numeric:
        raise DataError(f"{place}: no column holds numbers alone; there is {', '.join(header[:12])}")
    values = np.stack(list(numeric.values()), axis=1)
    values.setflags(write=False)
    left = tuple(name for name in header if name not in numeric)
    return Table(values=values, columns=tuple(numeric), left_alone=left, path=place)


def _csv_rows(place: Path) -> tuple[list[str], list[list[str]], str]:
    """Header, rows and separator; every row has as many entries as the header."""
    try:
        with place.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            separator = max(",;\t", key=first.count)
            file.seek(0)
            lines = csv.reader(file, delimiter=separator, strict=True)
            header = [name.strip() for name in next(lines, [])]
            rows = list(_checked(lines, len(header), place))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{place}: cannot be read as CSV ({error})") from None
    _check_header(header, place)
    if not rows:
        raise DataError(f"{place}: a header and no rows")
    return header, rows, separator


def _checked(lines: Any, width: int, place: Path) -> Iterator[list[str]]:
    for row in lines:
        if not row and width > 1:  # a blank line
            continue
        row = row or [""]
        if len(row) != width:
            raise DataError(f"{place}, line {lines.line_num}: {len(row)} entries, the header has {width}")
        yield row


def _check_header(header: list[str], place: Path) -> None:
    if not any(header):
        raise DataError(f"{place}: empty, expected a header line with the names of the columns")
    if all(_number(name) is not None for name in header):
        raise DataError(
            f"{place}: the first line holds numbers, expected a header line with the names of the columns"
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{place}: the header names {', '.join(twice[:5])} twice")


def _numbers(entries: list[str]) -> NDArray[np.float64] | None:
    column = np.empty(len(entries))
    for i, entry in enumerate(entries):
        value = _number(entry)
        if value is None:
            return None
        column[i] = value
    # A column without a single entry is empty, not numeric.
    return None if np.isnan(column).all() else column


def _number(entry: str) -> float | None:
    text = entry.strip()
    if text.lower() in _MISSING:
        return float("nan")
    if "_" in text:  # Python reads 1_000 as a number; a file that says so means a code
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _apply_csv(place: Path, normalizer: Normalizer, target: Path) -> tuple[str, ...]:
    header, rows, separator = _csv_rows(place)
    if normalizer.names is None:
        raise DataError(
            f"the normalizer has no names of columns, {place} has: fit it on a .csv, or give columns="
        )
    wanted = [name for name, chosen in zip(normalizer.names, normalizer.selected.flat, strict=True) if chosen]
    lacking = [name for name in wanted if name not in header]
    if lacking:
        raise DataError(
            f"{place} lacks {', '.join(lacking[:5])}: expected the columns that the normalizer was fitted on"
        )
    matrix = np.zeros((len(rows), len(normalizer.names)))  # columns that pass unchanged are not read
    for name in wanted:
        matrix[:, normalizer.names.index(name)] = _numbers_of(rows, header.index(name), place, name)
    normalised = normalizer(matrix)
    for name in wanted:
        i, column = header.index(name), normalised[:, normalizer.names.index(name)].tolist()
        for row, value in zip(rows, column, strict=True):
            if value == value:  # a missing entry stays as it was written
                row[i] = repr(value)
    with _replacing(target) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=separator, lineterminator="\n")
        writer.writerows([header, *rows])
    return tuple(name for name in header if name not in wanted)


def _numbers_of(rows: list[list[str]], i: int, place: Path, name: str) -> NDArray[np.float64]:
    values = [_number(row[i]) for row in rows]
    if None in values:
        raise DataError(f"{place}: column {name!r} holds {rows[values.index(None)][i]!r}, expected a number")
    return np.array(values, dtype=np.float64)


def _apply_npy(place: Path, normalizer: Normalizer, target: Path) -> tuple[str, ...]:
    values = _load(place, mmap_mode="r")
    dtype = values.dtype if values.dtype.kind == "f" else np.dtype(np.float32)
    normalizer(values[:1])  # refuses what does not fit before anything is written
    with _replacing(target) as temporary:
        out = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=values.shape)
        step = max(1, (1 << 20) // max(1, values[:1].size))
        for start in range(0, len(values), step):
            out[start : start + step] = normalizer(values[start : start + step])
        out.flush()
        del out
    return ()


def _apply_npz(place: Path, normalizer: Normalizer, target: Path, key: str | None) -> tuple[str, ...]:
    arrays = _npz_arrays(place)
    key = _npz_key(tuple(arrays), key, place)
    arrays[key] = normalizer(arrays[key])
    with _replacing(target) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return tuple(name for name in arrays if name != key)


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A temporary file beside `target` that takes its place when the block ends well."""
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        yield folder / target.name
        os.replace(folder / target.name, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
