"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import stat
from pathlib import Path

_RANDOM = 8  # bytes in the name of a temporary file
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def write_whole(place: Path, content: bytes) -> None:
    """Write a temporary file beside `place`, flush it to the disk, then put it in place.

    Where `place` is a link, the file that it leads to is replaced. A file that was there keeps its mode, a new
    one gets that of any file.

    Raises
    ------
    OSError
        When that fails; nothing is left, and what stood there is untouched.
    """
    place = Path(os.path.realpath(place))
    if place.exists() and not place.is_file():
        raise OSError(errno.EINVAL, "not a regular file")
    mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else None
    temporary = place.with_name(f".{place.name}.{secrets.token_hex(_RANDOM)}.tmp")
    handle = os.open(temporary, _NEW, 0o666 if mode is None else mode)
    try:
        with os.fdopen(handle, "wb") as file:
            if mode is not None:
                os.chmod(temporary, mode)  # the mask took its part of it
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_whole(place: Path) -> None:
    """Remove what `write_whole` wrote, and what it left beside it when it was killed."""
    place = Path(os.path.realpath(place))
    place.unlink(missing_ok=True)
    for rest in place.parent.glob(f".{glob.escape(place.name)}.{'[0-9a-f]' * 2 * _RANDOM}.tmp"):
        rest.unlink(missing_ok=True)
