"""What goes to standard output, for people or machines, and what to standard error."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import click

from ..errors import WellposedError
from ..lazy import lazy
from ..safe_text import clean

show_lines = lazy("wellposed.show.lines")
show_plain = lazy("wellposed.show.plain")

FOUND = 1
"""Exit code of a command that found something."""
EXIT_CODES = {"ready": 0, "not ready": FOUND, "not examined": 4}
"""By the verdict of a report."""


def open_closed_streams() -> None:
    """Put the null device where a standard stream is closed: the next file that is opened would take its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - it stays open


def silence(stream: IO[str]) -> None:
    """Send what is still to be written to a stream that takes no more to the null device."""
    with suppress(OSError, ValueError):  # no file behind it
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def show(value: Any, form: str, *, text: Callable[[Any], str] = str, json: Any = None) -> None:
    """Print a result as text, or as JSON and nothing else."""
    if form == "json":
        _put((json or show_plain.to_json)(value))
    else:
        say(text(value))


def say(text: str) -> None:
    """Print for people: signs that the terminal cannot show are spelled out."""
    _put(show_lines.encodable(text, sys.stdout.encoding or "utf-8"))


def note(text: str) -> None:
    """Say on standard error what is no result, to whoever listens."""
    try:
        click.echo(clean(text), err=True)
    except OSError:
        silence(sys.stderr)


def _put(text: str) -> None:
    """Write a result to standard output.

    Raises
    ------
    BrokenPipeError
        When nobody reads it.
    WellposedError
        When it takes no more, as a file on a full disk.
    """
    try:
        click.echo(text, color=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        silence(sys.stdout)
        raise WellposedError(f"standard output cannot be written: {error.strerror or error}") from None


def wrote(path: Path, left_alone: Iterable[str] = ()) -> None:
    left = ", ".join(left_alone)
    note(f"wrote {path}" + (f"; left as it was: {left}" if left else ""))


def notes_of(error: BaseException) -> list[str]:
    """What was added to an exception on its way."""
    return getattr(error, "__notes__", [])


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Show warnings as people read them, without the line of code that gave them."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: note(f"warning: {message}")
        yield
