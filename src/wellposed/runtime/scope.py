"""The scope in which the user's code may run, and that leaves no trace.

What the roots reach is kept on the way in and given back on the way out, whatever happens inside: an exception, Ctrl-C, a second one.
What could not be given back is found by comparison and said, in `Scope.traces` or as a `TraceWarning`.

Random states are those of the process, so scopes are too: a second one waits in its thread until the first is closed.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from ..errors import ProblemError, TraceWarning
from .files import FileWatch
from .interrupts import Interrupts
from .reachable import Reached, reach
from .settings import RANDOM_STATES, SWITCHES, kept_random_states, kept_settings
from .snapshot import RandomStates, Snapshot

_PACKAGE = str(Path(__file__).resolve().parents[1])
_POLL = 0.05
"""Seconds between looks for a signal while another thread's scope is waited for."""


class _Process:
    """One lock for all scopes of a process, and the open scopes of each thread."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.here = threading.local()

    @property
    def scopes(self) -> list[Scope]:
        if not hasattr(self.here, "scopes"):
            self.here.scopes = []
        return self.here.scopes


_process = _Process()


def _forget_other_threads() -> None:
    """In a forked process: a thread that held the lock does not exist there."""
    _process.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_other_threads)


def exclusive(what: str, *subjects: Any) -> Any:
    """The lock under which a public function runs; refuses to run on what it is already running on.

    Raises
    ------
    ProblemError
        When one of the subjects is being examined by a call further up in the same thread: the user's own code calls back.
    """
    for subject in subjects:
        for scope in _process.scopes:
            if subject is not None and subject in scope.found:
                raise ProblemError(
                    f"{what} was called on {scope.found.place(subject) or type(subject).__name__} by code that is being examined: "
                    "a model, loss or data set cannot examine itself; move the call out of it"
                )
    return _process.lock


class Scope:
    """Keeps what the roots reach, from ``__enter__`` to ``__exit__``.

    Parameters
    ----------
    roots
        Objects by the names that traces begin with.
    data
        Further ones that hold rows: large tensors among them are watched and not copied.
    says
        Whether traces are warned of; else they are left to whoever opened the scope.
    """

    def __init__(
        self, roots: Mapping[str, Any], *, data: Mapping[str, Any] | None = None, says: bool = True
    ) -> None:
        self._roots, self._data, self._says = roots, data, says
        self._undo: list[Callable[[], Any]] = []
        self._undo_last: list[Callable[[], Any]] = []
        """What gives things back once they have been compared with what they were when they were reached."""
        self._locked: Any = None
        self._snapshot: Snapshot | None = None
        self._files = FileWatch()
        self.found = Reached()
        self.traces: tuple[str, ...] = ()
        """What is not as it was, and where; known once the scope is closed."""

    def __enter__(self) -> Self:
        scopes = _process.scopes
        self._outermost = not scopes
        self._interrupts = Interrupts() if self._outermost else scopes[0]._interrupts
        self._interrupts.deferring += 1
        try:
            if self._outermost:
                self._interrupts.install(sys._getframe(1))
            self._lock()
            scopes.append(self)
            self._lend()
        except BaseException:
            self._close()
            raise
        self._interrupts.deferring -= 1
        if self._interrupts.waiting and not self._interrupts.deferring:
            self._interrupts.deferring += 1
            self._close()
            self._interrupts.hand_on()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        self._interrupts.deferring += 1
        self._close()
        if error is None or self._outermost:
            self._interrupts.hand_on(unless_raised=isinstance(error, KeyboardInterrupt))
        if self._outermost and self._says and self.traces:
            self._warn(error)

    def _lock(self) -> None:
        while not _process.lock.acquire(timeout=_POLL):
            if self._interrupts.waiting:
                self._interrupts.hand_on()
        self._locked = _process.lock

    def _lend(self) -> None:
        """Keep everything, in the order in which it is given back last."""
        self.found = reach(self._roots, data=self._data)
        if self._outermost:
            self._files.start()
            self._undo += kept_settings(self._switches())
        self._undo += kept_random_states(self._random_states())
        self._undo.append(RandomStates(self.found.generators).restore)
        self._snapshot = Snapshot(self.found)
        self._undo.append(self._snapshot.restore)
        self._snapshot.lend_iterators()

    def _switches(self) -> tuple[Any, ...]:
        return SWITCHES

    def _random_states(self) -> tuple[Any, ...]:
        return RANDOM_STATES

    def _changes(self) -> list[str]:
        return [] if self._snapshot is None else list(self._snapshot.changes())

    def _close(self) -> None:
        """Give everything back; done twice it does nothing more."""
        said = [*self.traces, *_given_back(self._undo)]
        try:
            if self in _process.scopes:
                _process.scopes.remove(self)
                if self._outermost:
                    self._files.stop()
                    said += [*self._changes(), *self._files.changes()]
        finally:
            said += _given_back(self._undo_last)
            self.traces = tuple(dict.fromkeys(said)) if self._outermost else ()
            if self._locked is not None:
                lock, self._locked = self._locked, None
                lock.release()
            self._interrupts.deferring -= 1
            if self._outermost:
                self._interrupts.remove()

    def _warn(self, error: BaseException | None) -> None:
        if error is not None:
            error.add_note("wellposed could not give back: " + "; ".join(self.traces))
            return
        for trace in self.traces:
            warnings.warn(trace, TraceWarning, stacklevel=_outside(sys._getframe(1)))


def _given_back(undo: list[Callable[[], Any]]) -> list[str]:
    """Undo one after the other, the last first; what failed is said, and the others are given back all the same."""
    failed: list[str] = []
    while undo:
        try:
            undo[-1]()
        except Exception as error:
            failed.append(f"giving back raised {type(error).__name__}: {error}")
        undo.pop()
    return failed


def _outside(frame: FrameType | None) -> int:
    """How far up the first frame outside this package is, as `warnings.warn` counts."""
    level = 2
    while frame is not None and frame.f_code.co_filename.startswith((_PACKAGE, "<frozen")):
        frame, level = frame.f_back, level + 1
    return level
