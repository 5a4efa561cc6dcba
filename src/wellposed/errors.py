"""The errors that wellposed raises.

::

    WellposedError
    ├── ProblemError          the problem cannot be loaded, or its parts do not fit together
    ├── DataError             data that cannot be read: empty, a one-shot generator, wrong columns
    ├── ArgumentError         an argument of a public function has a value it cannot take (also a ValueError)
    ├── ArtifactError         a saved file is truncated, of another version, or not ours
    ├── LeakageError          statistics were asked of data that is declared as held out
    ├── MissingDependency     an optional package is needed and not installed (also an ImportError)
    ├── UserCodeError         the user's own code raised; ``__cause__`` is what it raised
    └── FindingsError         ``Report.raise_for_findings()`` found something

    TraceWarning              something could not be given back as it was (a UserWarning, not an error)

A message is in lower case: what was found, then what was expected or how to fix it.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from .safe_text import clean, shortened

_LONGEST = 2000  # characters of a message
_END = object()


class WellposedError(Exception):
    """Root of every error that wellposed raises on purpose.

    Whatever names and values stand in its message, it drives no terminal, and somebody can read it to its end.
    """

    def __init__(self, *details: Any) -> None:
        super().__init__(*(shortened(clean(d), _LONGEST) if isinstance(d, str) else d for d in details))


class ProblemError(WellposedError):
    """The problem cannot be loaded, or its parts do not fit together."""


class DataError(WellposedError):
    """The data cannot be read, or does not fit what it is applied to."""


class ArgumentError(WellposedError, ValueError):
    """An argument of a public function has a value that it cannot take."""


class ArtifactError(WellposedError):
    """A saved file cannot be trusted: truncated, of another version, or not ours."""


class LeakageError(WellposedError):
    """Statistics were asked of data that is declared as held out."""


class MissingDependency(WellposedError, ImportError):  # noqa: N818 - it reads as what is the matter
    """An optional package is needed and not installed."""


class UserCodeError(WellposedError):
    """The user's own code raised; ``__cause__`` holds what it raised."""


def said_by(error: BaseException) -> str:
    """The kind of an error and its message; where it has none, as a bare ``assert``, the line that raised it."""
    kind, message = type(error).__name__, str(error)
    frames = traceback.extract_tb(error.__traceback__)
    if message or not frames:
        return f"{kind}: {message}"
    last = frames[-1]
    return f"{kind} at {last.filename}:{last.lineno}" + (f": {last.line}" if last.line else "")


@contextmanager
def users_code(what: str) -> Iterator[None]:
    """What is raised inside, by code of the user's, becomes a `UserCodeError` that says what was done: ``reading train``."""
    try:
        yield
    except WellposedError:
        raise
    except Exception as error:
        raise UserCodeError(f"{what} raised {said_by(error)}") from error


def items_of(data: Iterable[Any], name: str) -> Iterator[Any]:
    """What data of the user's give, one after the other; what their code raises becomes a `UserCodeError`."""
    what = f"reading {name}"
    with users_code(what):
        items = iter(data)
    while True:
        with users_code(what):
            item = next(items, _END)
        if item is _END:
            return
        yield item


class FindingsError(WellposedError):
    """A report holds findings, and the caller asked for an exception."""


class TraceWarning(UserWarning):
    """Something that a call used could not be given back as it was: the message names it, and what changed."""
