"""A call in a forked process of its own: nothing of the caller's can change, and a crash or a kill there costs nothing here."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from ..errors import ArgumentError, UserCodeError, WellposedError

_LENGTH = struct.Struct("<Q")


def isolated(
    what: str, call: Callable[[Callable[[str], None]], Any], *, progress: Callable[[str], None] | None = None
) -> Any:
    """What the call returns, from a forked child; its errors are raised here, and its progress is told here.

    Parameters
    ----------
    what
        The name of the public function.
    call
        Takes a function that tells progress.

    Raises
    ------
    ArgumentError
        Where a process cannot be forked: on Windows, and once CUDA has started.
    UserCodeError
        When the child ends without an answer, as by a crash; also when its answer cannot be pickled.
    """
    _refuse(what)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Of threads, as those of JAX: the child uses none of them.
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        os.close(reading)
        _run(call, writing)
    os.close(writing)
    status: int | None = None
    try:
        with open(reading, "rb") as pipe:
            answer = _answer(pipe, progress)
        status = os.waitpid(child, 0)[1]
    finally:
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if answer is None:
        raise UserCodeError(
            f"the process of its own in which {what} ran ended without an answer: {_ended(status)}"
        )
    kind, value = answer
    if kind == "error":
        _raise(*value)
    return value


def _refuse(what: str) -> None:
    if not hasattr(os, "fork") or sys.platform in ("win32", "darwin"):
        raise ArgumentError(
            f"isolate=True: {what} needs os.fork, which is safe on Linux alone; leave isolate out"
        )
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        raise ArgumentError(
            f"isolate=True: CUDA has started, and does not survive a fork; call {what} before, or leave isolate out"
        )


def _answer(pipe: Any, progress: Callable[[str], None] | None) -> tuple[str, Any] | None:
    while True:
        head = pipe.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            return None
        body = pipe.read(_LENGTH.unpack(head)[0])
        kind, value = pickle.loads(body)
        if kind != "progress":
            return kind, value
        if progress is not None:
            progress(value)


def _run(call: Callable[[Callable[[str], None]], Any], writing: int) -> None:
    """In the child: never returns."""
    code = 1
    try:
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(1)  # a team of OpenMP threads does not survive a fork
        with open(writing, "wb") as pipe:
            try:
                answer = "value", call(lambda stage: _send(pipe, ("progress", stage)))
            except Exception as error:
                answer = "error", _told(error)
            try:
                _send(pipe, answer)
            except Exception as error:  # of pickle, or of a method that pickle calls
                _send(
                    pipe,
                    ("error", _told(UserCodeError(f"the answer cannot be sent from its process: {error}"))),
                )
        code = 0
    except KeyboardInterrupt:  # the parent has had it too
        code = 130
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _send(pipe: Any, message: tuple[str, Any]) -> None:
    body = pickle.dumps(message)
    pipe.write(_LENGTH.pack(len(body)))
    pipe.write(body)
    pipe.flush()


def _told(error: BaseException) -> tuple[BaseException, BaseException | None, str]:
    """An error, what caused it, and its traceback in words; what pickle refuses goes in words alone."""
    words = "".join(traceback.format_exception(error))
    cause = error.__cause__
    if not isinstance(error, WellposedError):
        cause = cause or error
        error = error if _survives(error) else UserCodeError(f"{type(error).__name__}: {error}")
    if cause is not None and not _survives(cause):
        cause = RuntimeError(f"{type(cause).__name__}: {cause}")
    return error, cause, words


def _survives(error: BaseException) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # whatever its own methods raise
        return False


def _raise(error: BaseException, cause: BaseException | None, words: str) -> None:
    error.add_note(f"in a process of its own:\n{words}")
    raise error from cause


def _ended(status: int | None) -> str:
    assert status is not None
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = signal.Signals(number).name if number in signal.Signals._value2member_map_ else number
        return f"killed by {name}"
    return f"exit status {os.WEXITSTATUS(status)}"
