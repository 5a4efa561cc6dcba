"""What came of a trial, in one word. Everything here is mechanical; nothing is read between the lines."""

from __future__ import annotations

import dis
import re
import traceback
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from .cases import Call, Command

GOOD = ("clear", "as expected")
BORDERLINE = ("names no argument", "says nothing of what was found")
KINDS = (
    *GOOD,
    *BORDERLINE,
    "raw exception",
    "silently accepted",
    "blamed the user's code",
    "unclear message",
    "refused what is right",
    "not said to be the user's",
    "wrong exit code",
    "file changed",
    "control characters",
    "hang",
    "memory",
    "crash",
    "executed",
)

# C0 and C1 controls but for tab and newline, and what turns or hides text: bidi, zero width, line separators
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
BINDING = re.compile(
    r"unexpected keyword|required (positional|keyword-only) argument|positional arguments? but|takes no|valid Severity|unsupported operand"
)
TYPES = {
    "int",
    "str",
    "list",
    "bool",
    "dict",
    "tuple",
    "set",
    "float",
    "class",
    "type",
    "function",
    "bytes",
    "generator",
    "object",
    "None",
}
LONGEST = 2000  # characters of a message that somebody has to read


class UnsafeOutput(Exception):
    """A trial's own finding: a control character came through."""


@dataclass(frozen=True)
class Outcome:
    """A kind of `KINDS`, and what was seen."""

    kind: str
    seen: str = ""


def judge_result(call: Call, result: Any) -> Outcome:
    shown = f"returned {type(result).__name__}"
    if "fine" in call.good:
        return Outcome("as expected", shown)
    if "finding" in call.good and _is_finding(result):
        return Outcome("as expected", shown)
    return Outcome("silently accepted", shown)


def judge_exception(call: Call, error: BaseException) -> Outcome:
    from wellposed.errors import UserCodeError, WellposedError

    seen = f"{type(error).__name__}: {error}"
    if isinstance(error, UnsafeOutput) or UNSAFE.search(str(error)):
        return Outcome("control characters", seen)
    if isinstance(error, UserCodeError):
        return _judge_blame(call, error, seen)
    if "passes" in call.good and call.cause is not None and isinstance(error, call.cause):
        return Outcome("as expected", seen)
    ours = isinstance(error, WellposedError) or _raised_on_purpose(error)
    if not ours and not (call.python and _is_binding(error)):
        return Outcome("raw exception", seen + "  at " + _place(error))
    if "error" not in call.good:
        return Outcome("refused what is right" if "fine" in call.good else "not said to be the user's", seen)
    return _judge_message(call, str(error), seen)


def judge_command(case: Command, code: int, stdout: str, stderr: str) -> Outcome:
    seen = f"exit {code}; stdout {stdout[-120:]!r}; stderr {stderr[-300:]!r}"
    if code < 0 or (code >= 128 and code != 130 and code not in case.codes):
        return Outcome("crash", seen)
    if UNSAFE.search(re.sub(r"\x1b\[[0-9;]*m", "", stdout + stderr)) or _raw_escape(stdout + stderr):
        return Outcome("control characters", seen)
    if "Traceback (most recent call last)" in stderr and code != 3:
        return Outcome("raw exception", seen)
    if code not in case.codes:
        kinds = {3: "blamed the user's code", 70: "raw exception", 0: "silently accepted"}
        return Outcome(
            "refused what is right" if case.codes == (0,) else kinds.get(code, "wrong exit code"), seen
        )
    if case.shows and case.shows not in stdout:
        return Outcome("wrong exit code", f"{case.shows!r} is not in stdout; {seen}")
    if code != 2:
        return Outcome("as expected", seen)
    if len(stderr) > 2 * LONGEST:
        return Outcome("unclear message", f"{len(stderr)} characters; {seen}")
    if case.says and not _holds(stderr.replace("\n", " "), case.says):
        return Outcome("says nothing of what was found", seen)
    return Outcome("clear", seen)


def _raw_escape(text: str) -> bool:
    """Colour is ours to use on a terminal; here nothing is a terminal, so an escape was let through."""
    return "\x1b" in text


def _judge_blame(call: Call, error: BaseException, seen: str) -> Outcome:
    if "user" not in call.good:
        return Outcome("blamed the user's code", seen)
    if error.__cause__ is None or (call.cause is not None and not isinstance(error.__cause__, call.cause)):
        return Outcome("not said to be the user's", f"cause {error.__cause__!r}; {seen}")
    return Outcome("as expected", seen)


def _judge_message(call: Call, message: str, seen: str) -> Outcome:
    if len(message) > LONGEST:
        return Outcome("unclear message", f"{len(message)} characters; {seen}")
    named, found = _holds(message, call.names), _holds(message, call.found)
    if named and found:
        return Outcome("clear", seen)
    if named or found:
        return Outcome(BORDERLINE[1] if named else BORDERLINE[0], seen)
    return Outcome("unclear message", seen)


def _holds(message: str, words: tuple[str, ...]) -> bool:
    """Whether one of the words stands there, as a word of its own where it begins or ends with a letter or digit."""
    return not words or any(_pattern(word).search(message) for word in words)


def _pattern(word: str) -> re.Pattern[str]:
    if word in TYPES or (len(word) <= 2 and word.isalpha()):  # "int" does not stand in "expected an integer"
        return re.compile(rf"(?<![A-Za-z0-9_]){word}(Type)?\d*(?![A-Za-z0-9_])")
    left = r"(?<![0-9A-Za-z.])" if word[0].isdigit() else ""
    right = r"(?![0-9])" if word[-1].isdigit() else ""
    return re.compile(left + re.escape(word) + right, re.IGNORECASE)


def _is_finding(result: Any) -> bool:
    """Not ready, not ok, or false: a report, a fix (what it saw before), a gradient check."""
    result = getattr(result, "before", result)
    return not result or getattr(result, "ok", True) is False


def _is_binding(error: BaseException) -> bool:
    """Python refused the call itself, or an enum its value."""
    return isinstance(error, TypeError | ValueError) and bool(BINDING.search(str(error)))


def _raised_on_purpose(error: BaseException) -> bool:
    """A TypeError or ValueError of a ``raise`` in the library's own code."""
    if not isinstance(error, TypeError | ValueError):
        return False
    last = _innermost(error)
    if last is None or "/wellposed/" not in last.tb_frame.f_code.co_filename:
        return False
    here = [i for i in dis.get_instructions(last.tb_frame.f_code) if i.offset == last.tb_lasti]
    return bool(here) and here[0].opname == "RAISE_VARARGS"


def _innermost(error: BaseException) -> TracebackType | None:
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/wellposed/" in frame.filename] or list(frames)
    return f"{ours[-1].filename.rsplit('/wellposed/')[-1]}:{ours[-1].lineno}" if ours else "?"
