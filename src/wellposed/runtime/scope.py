"""The scope in which the user's code may run, and that leaves no trace.

What the roots reach, and the random states and switches of the process, are kept on the way in and given back on the way out,
whatever happens inside: an exception, Ctrl-C, a second one. What could not be given back is found by comparison and said, in
`Scope.traces` or as a `TraceWarning`. Files that are written, made or removed are not given back, so they are said too: Python
announces every opening of a file to its audit hooks (PEP 578). A hook stays for good, so there is one, and it does nothing but
while a scope is open in its thread.

Random states are those of the process, so scopes are too: a second one waits in its thread until the first is closed.
"""

from __future__ import annotations

import os
import random
import stat
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import numpy as np

from ..errors import ProblemError, TraceWarning
from .interrupts import Interrupts
from .reachable import Reached, reach
from .snapshot import RandomStates, Snapshot

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


Setting = tuple[Callable[[], Any], Callable[[Any], Any]]
"""What reads it, and what sets it to what was read."""

RANDOM_STATES: tuple[Setting, ...] = (
    (random.getstate, random.setstate),
    # The state that the user's code may draw from.
    (lambda: np.random.get_state(legacy=False), np.random.set_state),  # noqa: NPY002
)


def _set_environment(kept: dict[str, str]) -> None:
    for name in os.environ.keys() - kept.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in kept.items() if os.environ.get(name) != value})


def _set_filters(kept: list[Any]) -> None:
    warnings.filters[:] = kept  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]


SWITCHES: tuple[Setting, ...] = (
    (lambda: dict(os.environ), _set_environment),
    (np.geterr, lambda kept: np.seterr(**kept)),
    (lambda: list(warnings.filters), _set_filters),
)


def kept_settings(settings: Sequence[Setting]) -> list[Callable[[], None]]:
    """Calls that set each back to what it is now, where it is something else by then."""
    return [_setter(read, write, read()) for read, write in settings]


def _setter(read: Callable[[], Any], write: Callable[[Any], Any], kept: Any) -> Callable[[], None]:
    def back() -> None:
        if read() != kept:
            write(kept)

    return back


def kept_random_states(settings: Sequence[Setting]) -> list[Callable[[], Any]]:
    return [_writer(write, read()) for read, write in settings]


def _writer(write: Callable[[Any], Any], kept: Any) -> Callable[[], Any]:
    return lambda: write(kept)


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

    @property
    def outermost(self) -> Scope:
        """The first scope that is open in this thread."""
        return _process.scopes[0]

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
