"""Files that the code under examination writes, makes or removes by their names: what a disk holds is not given back, so it is said.

Python announces every opening of a file to its audit hooks (PEP 578), before it happens. A hook stays for good, so there is one, and
it does nothing but while a scope is open in its thread.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Iterator
from typing import Any

_Known = tuple[int, int, int] | None
"""Time of the last change, size and inode; None where nothing is there."""
_MADE_BY_TOOLS = ("__pycache__", "torchinductor", "triton", ".cache")
"""Beginnings of the names of folders that compilers and interpreters keep for themselves."""
_CHANGING = frozenset(
    {"os.remove", "os.rename", "os.link", "os.symlink", "os.mkdir", "os.rmdir", "os.truncate"}
)
"""Events that begin with one path or two; a mode or a length in the second place is no path."""
_MOST = 1000


class _Open(threading.local):
    watch: FileWatch | None = None


_open = _Open()
_hooked = False


class FileWatch:
    """What stood under each name before it was first written to."""

    def __init__(self) -> None:
        self._before: dict[str, _Known] = {}
        self._more = False

    def start(self) -> None:
        global _hooked
        if not _hooked:
            sys.addaudithook(_heard)
            _hooked = True
        _open.watch = self

    def stop(self) -> None:
        _open.watch = None

    def note(self, path: Any) -> None:
        try:
            name = os.path.abspath(os.fsdecode(path))
        except (TypeError, ValueError):  # the number of an open file
            return
        if name in self._before or _of_a_tool(name):
            return
        if len(self._before) < _MOST:
            self._before[name] = _known(name)
        else:
            self._more = True

    def changes(self) -> Iterator[str]:
        """One sentence for each file that is not what it was."""
        for name, before in self._before.items():
            after = _known(name)
            if before != after:
                what = "made" if before is None else "removed" if after is None else "written to"
                yield f"{name}: was {what} by the code that ran; files are not given back"
        if self._more:
            yield f"more than {_MOST:,} files were opened to write by the code that ran; the others were not looked at"


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    watch = _open.watch
    if watch is None:
        return
    if event == "open":
        path, mode, flags = arguments
        if mode is None and isinstance(flags, int):
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR))
        else:
            writes = not set("wax+").isdisjoint(mode or "")
        if writes:
            watch.note(path)
    elif event in _CHANGING:
        for path in arguments[:2]:
            watch.note(path)


def _known(name: str) -> _Known:
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(status.st_mode):
        return status.st_mtime_ns, status.st_size, status.st_ino
    # A folder changes with what is in it, which is told by itself; a device or a pipe is not there to be changed.
    return (0, 0, status.st_ino) if stat.S_ISDIR(status.st_mode) else None


def _of_a_tool(name: str) -> bool:
    return any(part.startswith(_MADE_BY_TOOLS) for part in name.split(os.sep))
