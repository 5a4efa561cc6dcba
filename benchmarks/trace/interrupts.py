"""Ctrl-C at any moment: at a random time, and aimed at the code that enters and leaves.

An aimed interrupt is raised where CPython itself looks for signals: at the start of a function, at a jump backward, and
after a call of what is written in C. Where to aim is learned from a run of the same call: the functions of the library that run
before the user's code is first called and after it is last called, without a look at what is in them.
"""

from __future__ import annotations

import dis
import os
import random
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import wellposed

from .forked import ready
from .kind import Case

LIBRARY = str(Path(wellposed.__file__).parent) + os.sep
USER = str(Path(__file__).parent) + os.sep

_LOOKS_AFTER = {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD", "RESUME"}

Function = tuple[str, str, int]
Moment = tuple[str, str, int, int]
Call = Callable[[Case], Any]


@dataclass(frozen=True)
class Aim:
    """The n-th time that the interpreter comes to one instruction, counted from 1."""

    moment: Moment
    occurrence: int

    def __str__(self) -> str:
        return f"{self.moment[0].removeprefix(LIBRARY)}:{self.moment[2]} {self.moment[1]} (time {self.occurrence})"


class _Late:
    """Takes an interrupt that arrives when the call has ended; it passes for the handler that stood there."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        return

    def __repr__(self) -> str:
        return repr(signal.default_int_handler)


def until_done(call: Call) -> Call:
    """The call, open to one interrupt from `ready` until it ends."""

    def guarded(case: Case) -> Any:
        ready()
        try:
            return call(case)
        finally:
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                signal.signal(signal.SIGINT, _Late())

    return guarded


def aims(call: Call, case: Case, count: int, seed: int) -> list[Aim]:
    """Draw moments in the functions that enter and leave: half of them over all moments, half over all instructions.

    Makes the call twice on the case, so it belongs into a process of its own.
    """
    functions = _entering_and_leaving(call, case)
    seen = _moments(call, case, functions)
    if not seen:
        return []
    rng = random.Random(seed)
    occurrences: dict[Moment, int] = {}
    timeline = []
    for moment in seen:
        occurrences[moment] = occurrences.get(moment, 0) + 1
        timeline.append(Aim(moment, occurrences[moment]))
    distinct = list(occurrences)
    drawn = []
    for i in range(count):
        if i % 2:
            drawn.append(rng.choice(timeline))
        else:
            moment = rng.choice(distinct)
            drawn.append(Aim(moment, rng.randint(1, occurrences[moment])))
    return drawn


def interrupted_at(call: Call, aim: Aim) -> Call:
    """The call, with a SIGINT at the moment aimed at."""

    def interrupted(case: Case) -> Any:
        left = aim.occurrence

        def arrive(moment: Moment) -> None:
            nonlocal left
            if moment == aim.moment:
                left -= 1
                if left == 0:
                    signal.raise_signal(signal.SIGINT)

        return _traced(lambda: call(case), {aim.moment[:2]}, arrive)

    return interrupted


def _entering_and_leaving(call: Call, case: Case) -> set[Function]:
    """Functions of the library that run before the user's code first runs, or after it has run for the last time."""
    entering: set[Function] = set()
    after_user: set[Function] = set()
    user_ran = False

    def trace(frame: FrameType, event: str, _: Any) -> None:
        nonlocal user_ran
        code = frame.f_code
        if code.co_filename.startswith(USER) and code.co_name in (
            "forward",
            "__getitem__",
            "__iter__",
            "arrive",
        ):
            user_ran = True
            after_user.clear()
        elif code.co_filename.startswith(LIBRARY):
            after_user.add(_function(code))
            if not user_ran:
                entering.add(_function(code))

    sys.settrace(trace)
    try:
        with suppress(Exception):  # a call that refuses the case enters and leaves, too
            call(case)
    finally:
        sys.settrace(None)
    return entering | after_user


def _moments(call: Call, case: Case, functions: set[Function]) -> list[Moment]:
    seen: list[Moment] = []
    with suppress(Exception):  # as above
        _traced(lambda: call(case), {function[:2] for function in functions}, seen.append)
    return seen


def _function(code: CodeType) -> Function:
    return code.co_filename, code.co_name, code.co_firstlineno


def _traced(action: Callable[[], Any], names: set[tuple[str, str]], arrive: Callable[[Moment], None]) -> Any:
    """Run an action, and tell of each moment in these functions at which CPython looks for signals."""
    last: dict[FrameType, int] = {}
    entered_python: set[FrameType] = set()

    def local(frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            before = last.get(frame)
            last[frame] = frame.f_lasti
            called_python = frame in entered_python
            entered_python.discard(frame)
            looks = before is not None and _name(frame.f_code, before) in _LOOKS_AFTER
            if looks and not called_python:  # a return from Python to Python looks for no signal
                code = frame.f_code
                arrive((code.co_filename, code.co_name, frame.f_lineno, frame.f_lasti))
        elif event == "return":
            last.pop(frame, None)
            entered_python.discard(frame)
        return local

    def outer(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_back is not None and frame.f_back in last:
            entered_python.add(frame.f_back)
        if (frame.f_code.co_filename, frame.f_code.co_name) not in names:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return local

    sys.settrace(outer)
    try:
        return action()
    finally:
        sys.settrace(None)


_names: dict[CodeType, dict[int, str]] = {}


def _name(code: CodeType, offset: int) -> str:
    if code not in _names:
        _names[code] = {i.offset: i.opname for i in dis.get_instructions(code)}
    return _names[code].get(offset, "")
