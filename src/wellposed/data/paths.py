"""Which files a path, a folder or a pattern stands for, and how one version of a file is told from another."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, DataError
from ..own_files import atomic_write, what_it_is

KINDS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".csv.gz": "csv",
    ".tsv.gz": "csv",
    ".npy": "npy",
    ".npz": "npz",
    ".arrow": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
}
"""The endings that are read, and what they are read as."""
_LONGEST_PATH = 4096


def kind_of(place: Path) -> str:
    """What a file is read as: "parquet", "csv", "npy", "npz" or "ipc"."""
    return KINDS[ending_of(place)]


def ending_of(place: Path) -> str:
    """The ending by which a file is known: ``.csv.gz`` rather than ``.gz``."""
    ending = _ending(place)
    if ending is None:
        raise ArgumentError(
            f"{place}: files of kind {place.suffix!r} are not read; there is {', '.join(KINDS)}"
        )
    return ending


def files_of(path: str | os.PathLike[str]) -> list[Path]:
    """The files that a path, a folder or a pattern with ``*``, ``?`` or ``[`` stands for, sorted.

    Raises
    ------
    DataError
        When nothing is there, or the files are of several kinds.
    ArgumentError
        When the kind is not known.
    """
    if not str(path):
        raise DataError("the path is '': expected a file, a folder or a pattern")
    place = Path(path)
    if len(str(path)) > _LONGEST_PATH:
        raise DataError(f"no such file: {str(path)[:60]}... ({len(str(path))} characters)")
    if place.is_dir():
        return _of_one_kind([p for p in sorted(place.rglob("*")) if _holds_data(p, place)], f"folder {place}")
    if place.exists():
        kind_of(place)
        if not place.is_file():  # to open a pipe may wait for ever
            raise DataError(f"{place}: {what_it_is(place)}")
        return [place]
    if glob.has_magic(str(path)):
        matches = sorted(Path(p) for p in glob.glob(str(path), recursive=True))
        return _of_one_kind([p for p in matches if p.is_file() and not _hidden(p.name)], f"pattern {path}")
    kind_of(place)
    raise DataError(f"no such file: {place}")


def partitions_of(place: Path, folder: Path) -> tuple[str, ...]:
    """Columns that an engine wrote into the names of folders, such as ``year=2020/part-0.parquet``.

    Examples
    --------
    >>> partitions_of(Path("data/year=2020/part-0.parquet"), Path("data"))
    ('year',)
    """
    parts = place.relative_to(folder).parts[:-1]
    return tuple(part.partition("=")[0] for part in parts if "=" in part)


def stamp(place: Path) -> tuple[Any, ...]:
    """Path, size and time of the last change."""
    status = place.stat()
    return (str(place.resolve()), status.st_size, status.st_mtime_ns)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary file beside `target`, as `atomic_write` gives; a `DataError` where it cannot be written."""
    try:
        with atomic_write(target) as temporary:
            yield temporary
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror or error}") from None


def _ending(place: Path) -> str | None:
    name = place.name.lower()
    return next((ending for ending in KINDS if name.endswith(ending)), None)


def _hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _holds_data(place: Path, folder: Path) -> bool:
    """Neither hidden nor a mark that an engine leaves (``_SUCCESS``, ``_metadata``, ``.part.crc``)."""
    return place.is_file() and not any(_hidden(name) for name in place.relative_to(folder).parts)


def _of_one_kind(places: list[Path], what: str) -> list[Path]:
    known = [p for p in places if _ending(p) is not None]
    if not known:
        raise DataError(f"{what}: no file of the kinds {', '.join(KINDS)}")
    kinds = sorted({kind_of(p) for p in known})
    if len(kinds) > 1:
        raise DataError(f"{what} holds files of the kinds {', '.join(kinds)}: name one kind with a pattern")
    return known
