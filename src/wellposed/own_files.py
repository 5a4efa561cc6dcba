"""Files of our own: written whole or not at all, never over what is not ours, and read only up to a limit."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from .arguments import flag
from .arguments import path as path_of
from .errors import ArgumentError, ArtifactError
from .safe_text import shown

MAX_BYTES = 128 * 1024 * 1024
"""The largest report or normalizer that is read back."""
_RANDOM = 8  # bytes in the name of a temporary file
_STEM = 50  # characters of the file's name in it: four bytes each still fit the 255 of most file systems
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


@contextmanager
def atomic_write(place: Path) -> Iterator[Path]:
    """Give an empty file beside `place` to be written to; it takes its place when the block ends well.

    Where `place` is a link, the file that it leads to is replaced. A file that was there keeps its mode, a new
    one gets that of any file.

    Raises
    ------
    OSError
        When that fails, as on a full disk; nothing is left, and what stood there is untouched.
    """
    place = Path(os.path.realpath(place))
    if place.is_symlink():  # still: it leads back to itself
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if place.exists() and not place.is_file():
        raise OSError(errno.EINVAL, what_it_is(place))
    mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else None
    temporary = place.with_name(f"{_prefix(place)}{secrets.token_hex(_RANDOM)}.tmp")
    os.close(os.open(temporary, _NEW, 0o666 if mode is None else mode))
    try:
        if mode is not None:
            os.chmod(temporary, mode)  # the mask took its part of it
        yield temporary
        with temporary.open(
            "rb"
        ) as file:  # on the disk before it is renamed, so that a crash leaves one or the other
            os.fsync(file.fileno())
        os.replace(temporary, place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_whole(place: Path, content: bytes) -> None:
    """Write a file by `atomic_write`; raises OSError where that fails."""
    with atomic_write(place) as temporary:
        temporary.write_bytes(content)


def remove_whole(place: Path) -> None:
    """Remove what `write_whole` wrote, and what it left beside it when it was killed."""
    place = Path(os.path.realpath(place))
    place.unlink(missing_ok=True)
    for rest in place.parent.glob(f"{glob.escape(_prefix(place))}{'[0-9a-f]' * 2 * _RANDOM}.tmp"):
        rest.unlink(missing_ok=True)


def save(
    path: str | PathLike[str],
    content: bytes,
    *,
    what: str,
    is_ours: Callable[[Path], bool],
    force: bool = False,
) -> None:
    """Write a result, in the place of an older one alone.

    Parameters
    ----------
    path, content
        Where, and what.
    what
        What it is, with its article: ``"a report"``.
    is_ours
        Whether a file, by its content, is an older one of these.
    force
        Replace whatever stands there.

    Raises
    ------
    ArgumentError
        When something else stands there.
    ArtifactError
        When it cannot be written.
    """
    place, force = path_of(path, "path"), flag(force, "force")
    refuse_other(place, what=what, is_ours=is_ours, force=force)
    if not place.absolute().parent.is_dir():
        raise ArtifactError(
            f"{shown(str(place))}: cannot be written, no such folder: {shown(str(place.parent))}"
        )
    try:
        write_whole(place, content)
    except OSError as error:
        raise ArtifactError(
            f"{shown(str(place))}: cannot be written ({error.strerror or error}); what stood there before is "
            "untouched"
        ) from error


def refuse_other(place: Path, *, what: str, is_ours: Callable[[Path], bool], force: bool) -> None:
    """Raise an ArgumentError where a file stands that is none of ours, unless `force` says to replace it."""
    if place.is_file() and not force and not is_ours(place):
        raise ArgumentError(
            f"{shown(str(place))} is there, and is not {what} that wellposed wrote: name another file, or "
            "replace it with --force (in Python, force=True)"
        )


def read_bounded(path: str | PathLike[str], *, most: int = MAX_BYTES) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises
    ------
    ArtifactError
        When it is no such file, or cannot be read.
    """
    place = path_of(path, "path")
    name = shown(str(place))
    try:
        if not place.is_file():  # a device or a pipe may give bytes for ever, or none and wait
            raise ArtifactError(f"{name}: {what_it_is(place)}")
        with place.open("rb") as file:
            content = file.read(most + 1)
        size = place.stat().st_size
    except (OSError, ValueError) as error:  # a path with a null byte is a ValueError
        raise ArtifactError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if len(content) > most:
        raise ArtifactError(f"{name}: {size:,} bytes, expected at most {most:,}")
    return content


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, through links too."""
    if one.exists() and other.exists():
        return os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)  # which takes links that go in a circle


def what_it_is(place: Path) -> str:
    """Why a path is none of a file that can be read or replaced."""
    if place.is_dir():
        return "a folder, expected a file"
    return "a pipe, a socket or a device, not a regular file" if place.exists() else "no such file"


def _prefix(place: Path) -> str:
    return f".{place.name[:_STEM]}."
