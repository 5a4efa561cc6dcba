"""Signals while something must be finished: an interrupt is handed on only where undoing what was lent is certain.

While a scope is open in the main thread, a handler of this module stands before the user's own handlers. It calls theirs, which may raise
as the one for Ctrl-C does, while the user's code or a measurement runs; it waits while something is lent or given back, and while any
``__enter__`` or ``__exit__`` is at work, for a context manager that is interrupted at its first instruction leaves open what it opened.
"""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = tuple(
    getattr(signal, n)
    for n in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, n)
)
_UNBROKEN = frozenset({"__enter__", "__exit__", "__del__"})
_AGAIN_AFTER = 0.002
"""Seconds after which a signal that came at a bad moment is tried again."""
_PATIENCE = 3.0
"""Seconds after an interrupt was raised in which a further one waits: what the first one ended is being undone."""


class Interrupts:
    """Stands before the user's handlers from `install` to `remove`; does nothing outside the main thread."""

    def __init__(self) -> None:
        self.deferring = 0
        """How many of those that lend or give back are at work."""
        self._theirs: dict[int, Any] = {}
        self._waiting: list[int] = []
        self._timers: list[threading.Timer] = []
        self._raised_at = float("-inf")
        self._base: FrameType | None = None

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    def install(self, base: FrameType | None) -> None:
        """From here on signals wait, until `deferring` is 0; `base` is the frame that opens the scope."""
        self._base = base
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            theirs = signal.getsignal(number)
            if callable(theirs):
                self._theirs[number] = theirs
                signal.signal(number, self._arrived)

    def remove(self) -> None:
        """Give the user's handlers back, and let no thread of ours run on."""
        self._base = None
        for number, theirs in reversed(self._theirs.items()):  # Ctrl-C last
            signal.signal(number, theirs)
        while self._timers:
            timer = self._timers.pop()
            timer.cancel()
            timer.join()

    def hand_on(self, *, unless_raised: bool = False) -> None:
        """Call the user's handlers for the signals that waited; they may raise."""
        while self._waiting:
            number = self._waiting.pop(0)
            theirs = self._theirs[number]
            if not (
                unless_raised and theirs is signal.default_int_handler
            ):  # that one has been raised already
                theirs(number, None)

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self.deferring or time.monotonic() - self._raised_at < _PATIENCE:
            self._waiting.append(number)
        elif self._is_unbroken(frame):
            self._waiting.append(number)
            timer = threading.Timer(_AGAIN_AFTER, self._again, [number])
            self._timers.append(timer)
            timer.start()
        else:
            while number in self._waiting:
                self._waiting.remove(number)
            try:
                self._theirs[number](number, frame)
            except BaseException:
                self._raised_at = time.monotonic()
                raise

    def _again(self, number: int) -> None:
        if number in self._waiting and signal.getsignal(number) == self._arrived:
            self._waiting.remove(number)
            _thread.interrupt_main(signal.Signals(number))

    def _is_unbroken(self, frame: FrameType | None) -> bool:
        while frame is not None and frame is not self._base:
            if frame.f_code.co_name in _UNBROKEN:
                return True
            frame = frame.f_back
        return False


@contextmanager
def unbroken() -> Iterator[None]:
    """No signal is handed on inside: for writing several things that belong together."""
    interrupts = Interrupts()
    interrupts.deferring = 1
    interrupts.install(None)
    try:
        yield
    finally:
        interrupts.remove()
        interrupts.hand_on()
