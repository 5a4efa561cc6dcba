"""Errors that user code raises at its k-th call.

The calls are counted by the offset of an open file: nothing that restores Python's objects can rewind it, and
processes that were forked share it.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass

PLACES = ("model", "loss", "data")


class UserError(RuntimeError):
    """What the user's code raises."""


ERRORS: dict[str, type[BaseException]] = {
    "error": UserError,
    "exit": SystemExit,
    "interrupt": KeyboardInterrupt,
    "memory": MemoryError,
}


@dataclass(frozen=True)
class _Armed:
    place: str
    call: int
    error: str
    counter: int


_armed: _Armed | None = None


def arm(place: str, call: int, error: str) -> None:
    """Let the `call`-th arrival at `place` raise, counted from 1."""
    global _armed
    with tempfile.TemporaryFile() as file:
        counter = os.dup(file.fileno())
    _armed = _Armed(place, call, error, counter)


def disarm() -> int:
    """Let nothing raise any more; tell how many arrivals there were."""
    global _armed
    armed, _armed = _armed, None
    if armed is None:
        return 0
    arrivals = os.lseek(armed.counter, 0, os.SEEK_CUR)
    os.close(armed.counter)
    return arrivals


def arrive(place: str) -> None:
    """Called by the user's code wherever it may fail."""
    armed = _armed
    if armed is not None and armed.place == place:
        arrivals = os.lseek(armed.counter, 1, os.SEEK_CUR)
        if arrivals == armed.call:
            raise ERRORS[armed.error](f"the {place} failed at its call {arrivals}")
