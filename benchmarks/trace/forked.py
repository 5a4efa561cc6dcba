"""Runs a function in a forked process, so that neither its state nor its crash reaches anything else."""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a process gave back: a value, or why there is none."""

    value: Any = None
    crash: str | None = None


def forked(
    function: Callable[[], Any], *, timeout: float = 60.0, interrupt_after: float | None = None
) -> Ended:
    """Call `function` in a child and return what it returned.

    Parameters
    ----------
    function
        Returns something that can be pickled. With `interrupt_after` it gets no argument either: it calls
        `ready` when the clock shall start.
    timeout
        Seconds until the child is killed.
    interrupt_after
        Seconds from `ready` to a SIGINT for the child and all that it has started, as a terminal sends it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _live(function, write)
    os.close(write)
    content = b""
    try:
        content = _listen(read, child, timeout, interrupt_after)
    finally:
        os.close(read)
        _end_group(child)
        status = os.waitpid(child, 0)[1]
    return _understood(content, status)


_ready_pipe = -1


def ready() -> None:
    """Say that the call under trial begins now."""
    os.write(_ready_pipe, _BEGIN)


_BEGIN = b"\0"


def _live(function: Callable[[], Any], write: int) -> None:
    """The child's whole life; it never returns, whatever happens."""
    global _ready_pipe
    _ready_pipe = write
    try:
        os.setpgid(0, 0)  # a group of its own, so that a signal reaches its children and nobody else
        signal.signal(signal.SIGINT, signal.default_int_handler)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        answer = pickle.dumps(("value", function()))
    except BaseException:
        answer = pickle.dumps(("raised", traceback.format_exc(limit=-4)))
    try:
        view = memoryview(answer)
        while view:
            view = view[os.write(write, view) :]
    finally:
        os._exit(0)


def _listen(read: int, child: int, timeout: float, interrupt_after: float | None) -> bytes:
    content = bytearray()
    end = time.monotonic() + timeout
    signal_at: float | None = None
    while True:
        now = time.monotonic()
        if signal_at is not None and now >= signal_at:
            _signal_group(child, signal.SIGINT)
            signal_at = None
        if now >= end:
            return b"late"
        until = min(end, signal_at) if signal_at is not None else end
        if not select.select([read], [], [], max(until - now, 0))[0]:
            continue
        piece = os.read(read, 1 << 16)
        if not piece:
            return bytes(content)
        if piece.startswith(_BEGIN) and not content:
            piece = piece[1:]
            if interrupt_after is not None:
                signal_at = time.monotonic() + interrupt_after
        content += piece
        if content.endswith(b".") and _complete(content):  # workers of the child may hold the pipe open
            return bytes(content)


def _complete(content: bytearray) -> bool:
    try:
        pickle.loads(content)
    except (EOFError, pickle.UnpicklingError, ValueError, IndexError, KeyError):
        return False
    return True


def _signal_group(child: int, which: int) -> None:
    try:
        os.killpg(child, which)
    except (ProcessLookupError, PermissionError):
        return


def _end_group(child: int) -> None:
    """End the child and whatever it has left behind: its group holds nobody else."""
    _signal_group(child, signal.SIGKILL)
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        return


def _understood(content: bytes, status: int) -> Ended:
    if content == b"late":
        return Ended(crash="no end within the time limit")
    if not content:
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        return Ended(crash=f"the interpreter died of {signal.Signals(number).name if number else status}")
    kind, value = pickle.loads(content)
    return Ended(value=value) if kind == "value" else Ended(crash=value)
