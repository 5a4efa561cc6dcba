"""Files that the code under examination writes, makes or removes by their names: what a disk holds is not given back, so it is said.

Python announces every opening of a file to its audit hooks (PEP 578), before it happens. A hook stays for good, so there is one, and
it does nothing but while a scope is open in its thread.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

_Known = tuple[int, int, int] | None
"""Time of the last change, size and inode; None where nothing is there."""
_MADE_BY_TOOLS = ("__pycache__", "torchinductor", "triton", ".cache")
"""Beginnings of the names of folders that compilers and interpreters keep for themselves."""
_MOST = 1000


class _Open(threading.local):
    watch: FileWatch | None = None


_open = _Open()
_hooked = False


class FileWatch:
    """What stood under each name before it was first written to."""

    def __init__(self) -> None:
        self._before: dict[str, _Known] = {}

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
        if name not in self._before and len(self._before) < _MOST and not _of_a_tool(name):
            self._before[name] = _known(name)

    def changes(self) -> Iterator[str]:
        """One sentence for each file that is not what it was."""
        for name, before in self._before.items():
            after = _known(name)
            if before != after:
                what = "made" if before is None else "removed" if after is None else "written to"
                yield f"{name}: was {what} by the code that ran; files are not given back"


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
    elif event in ("os.remove", "os.mkdir", "os.truncate"):
        watch.note(arguments[0])


def _known(name: str) -> _Known:
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return None
    if not os.path.isfile(name) and not os.path.isdir(name):
        return None  # a device or a pipe
    return (
        (0, 0, status.st_ino) if os.path.isdir(name) else (status.st_mtime_ns, status.st_size, status.st_ino)
    )


def _of_a_tool(name: str) -> bool:
    return any(part.startswith(_MADE_BY_TOOLS) for part in name.split(os.sep))
