"""``.npy`` and ``.npz``: one array of any number of dimensions, samples along the first axis."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..errors import ArgumentError, DataError
from .column_names import listed
from .paths import stamp
from .source import PIECE_BYTES, Piece, Source, digest

USUAL_KEYS = (
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

_AT_ONCE = 1 << 30
"""Bytes that are read together at most: a few kilobytes of an archive may stand for any number of them."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An array in a file: what its header says."""

    place: Path
    key: str | None
    """Name in the archive; None for ``.npy``."""
    others: tuple[str, ...]
    """The other arrays of the archive."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int
    """Bytes before the first entry."""

    @property
    def sample_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])

    @property
    def bytes(self) -> int:
        return self.shape[0] * self.sample_bytes

    def parts(self, step: int, start: int = 0) -> Iterator[NDArray[Any]]:
        """The array, `step` samples at a time, from part number `start` on; never more of it in memory."""
        if self.fortran:
            whole = self._whole()
            yield from (whole[i : i + step] for i in range(start * step, self.shape[0], step))
        elif self.key is None:
            yield from self._mapped(step, start)
        else:
            yield from self._unpacked(step, start)

    def _mapped(self, step: int, start: int) -> Iterator[NDArray[Any]]:
        # Mapped part by part: what was read of one large map would count as memory in use.
        for first in range(start * step, self.shape[0], step):
            shape = (min(step, self.shape[0] - first), *self.shape[1:])
            if 0 in shape:
                yield np.empty(shape, self.dtype)
                continue
            offset = self.offset + first * self.sample_bytes
            try:
                yield np.memmap(self.place, self.dtype, mode="r", offset=offset, shape=shape)
            except (OSError, ValueError) as error:
                raise DataError(f"{self.place}: cannot be read to its end ({error})") from None

    def _unpacked(self, step: int, start: int) -> Iterator[NDArray[Any]]:
        with (
            _damage_named(self.place),
            zipfile.ZipFile(self.place) as archive,
            archive.open(f"{self.key}.npy") as member,
        ):
            member.seek(self.offset + start * step * self.sample_bytes)
            for first in range(start * step, self.shape[0], step):
                shape = (min(step, self.shape[0] - first), *self.shape[1:])
                size = shape[0] * self.sample_bytes
                text = member.read(size)
                if len(text) < size:
                    raise EOFError(f"{len(text)} bytes where {size} should be")
                yield np.frombuffer(text, self.dtype).reshape(shape)

    def _whole(self) -> NDArray[Any]:
        if self.key is None:
            return np.load(self.place, mmap_mode="r", allow_pickle=False)
        with _damage_named(self.place), np.load(self.place, allow_pickle=False) as archive:
            return archive[self.key]


class ArraySource(Source):
    """One array, or the arrays of several files one after the other."""

    names = None

    def __init__(self, places: Sequence[Path], *, label: str, key: str | None = None) -> None:
        self.label, self._stored = label, [stored(place, key) for place in places]
        first = self._stored[0]
        for other in self._stored[1:]:
            if other.shape[1:] != first.shape[1:]:
                raise DataError(
                    f"{other.place} has samples of shape {other.shape[1:]}, {first.place} of {first.shape[1:]}: "
                    "expected one shape"
                )
        self.left_alone = MappingProxyType(dict.fromkeys(first.others, "another array"))
        self.ndim = len(first.shape)
        self.rows = sum(each.shape[0] for each in self._stored)
        self.shape = (self.rows, *first.shape[1:])
        self.bytes = sum(each.bytes for each in self._stored)
        self.identity = digest(
            [stamp(each.place) for each in self._stored], [each.key for each in self._stored]
        )

    @property
    def integers(self) -> tuple[bool, ...]:
        return ()

    def pieces(self, start: int = 0) -> Generator[Piece]:
        for each in self._stored:
            step = max(1, PIECE_BYTES // max(1, each.sample_bytes))
            count = -(-each.shape[0] // step)
            if count <= start:
                start -= count
                continue
            for part in each.parts(step, start):
                yield Piece(array=part, rows=len(part), bytes=part.nbytes)
            start = 0

    def select(self, columns: Sequence[str]) -> Source:
        raise ArgumentError(
            f"columns={list(columns)!r}: the columns of {self.label} have no names, give numbers"
        )


def stored(place: Path, key: str | None = None) -> Stored:
    """The array of a file, or of an archive the one named `key`, the only one, or the one with a usual name.

    Raises
    ------
    DataError
        When the file is damaged, or holds no array of real numbers.
    ArgumentError
        When there is no array `key`.
    """
    if place.suffix.lower() == ".npy":
        with _damage_named(place), place.open("rb") as file:
            array = _header(file, place=place, key=None, others=())
        _check_sizes(array, place.stat().st_size, at_once=array.sample_bytes)
        return array
    with _damage_named(place), zipfile.ZipFile(place) as archive:
        names = tuple(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))
        key = _choose(names, key, place)
        with archive.open(f"{key}.npy") as member:
            array = _header(member, place=place, key=key, others=tuple(n for n in names if n != key))
        # An array in Fortran order is no sequence of samples, and what is packed is read from its start.
        at_once = array.bytes if array.fortran else array.sample_bytes
        _check_sizes(array, archive.getinfo(f"{key}.npy").file_size, at_once=at_once)
        return array


def _check_sizes(array: Stored, size: int, *, at_once: int) -> None:
    """Refuse what the file cannot hold, and what memory should not, before any of it is read."""
    expected = array.offset + array.bytes
    if size < expected:
        raise DataError(f"{array.place}: cut off, {size} bytes where {expected} should be")
    if at_once > _AT_ONCE:
        what = "packed in Fortran order" if at_once == array.bytes and array.fortran else "one sample"
        raise DataError(
            f"{array.place}: {what}, {at_once:,} bytes are read at once, at most {_AT_ONCE:,} may be: save it in C "
            "order (numpy.ascontiguousarray), samples along the first axis, or as .npy"
        )


def _header(file: Any, *, place: Path, key: str | None, others: tuple[str, ...]) -> Stored:
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise DataError(f"{place}: version {version} of the format, which is for arrays with named fields")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    what = f"{place}, array {key!r}," if key else f"{place}"
    if dtype.kind not in "biuf":
        raise DataError(f"{what} has dtype {dtype}: expected real numbers")
    if not shape:
        raise DataError(f"{what} holds a single number: expected samples along the first axis")
    fortran = fortran and len(shape) > 1
    return Stored(
        place=place, key=key, others=others, shape=shape, dtype=dtype, fortran=fortran, offset=file.tell()
    )


def _choose(names: tuple[str, ...], key: str | None, place: Path) -> str:
    if key is not None:
        if key not in names:
            raise ArgumentError(f"key={key!r} is not in {place}: there is {listed(names)}")
        return key
    usual = [n for n in names if n in USUAL_KEYS]
    if len(names) == 1 or len(usual) == 1:
        return (usual or list(names))[0]
    raise DataError(f"{place} holds {listed(names) or 'no arrays'}: say which with key=")


@contextmanager
def _damage_named(place: Path) -> Iterator[None]:
    """What the readers of a damaged file raise becomes a `DataError` that names the file."""
    try:
        yield
    except ArgumentError:
        raise
    except _DAMAGE as error:
        raise DataError(f"{place}: not a readable {place.suffix} file ({error})") from None


# A header is read as Python's literals: what is none raises as Python's own readers do.
_HEADER = (ValueError, SyntaxError, TokenError, TypeError, MemoryError, RecursionError, OverflowError)
_DAMAGE = (*_HEADER, OSError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error)
