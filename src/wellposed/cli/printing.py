"""What goes where: results to standard output, notes and progress to standard error, and the exit codes."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import IO, Any

import click

from ..errors import ProblemError, WellposedError
from ..lazy import lazy
from ..safe_text import clean


@contextmanager
def users_code(spec: str, *, machine: bool) -> Iterator[None]:
    """Around all that runs the user's code: their prints, their exits, their view of the command line.

    Where a machine reads standard output, what they print goes to standard error.
    """
    arguments = sys.argv
    sys.argv = [spec.rpartition(":")[0] or spec]
    try:
        with stdout_kept_for_results() if machine else nullcontext():
            yield
    except SystemExit as stop:
        raise ProblemError(
            f"{spec} called sys.exit({stop.code!r}) while it was loaded or run: "
            "put what starts the training under if __name__ == '__main__'"
        ) from stop
    finally:
        sys.argv = arguments


@contextmanager
def stdout_kept_for_results() -> Iterator[None]:
    """Send what the user's code prints, in Python or in C, to standard error."""
    try:
        number = sys.stdout.fileno()
        kept = os.dup(number)
    except (OSError, ValueError):  # no file behind it: Python's own prints are all there are
        with redirect_stdout(sys.stderr):
            yield
        return
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, number)
        os.close(kept)


@contextmanager
def progress() -> Iterator[Callable[..., None] | None]:
    """Give a function that shows what runs now on one line of standard error; None where nobody watches."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    columns = shutil.get_terminal_size().columns

    def show(doing: object, *_: object) -> None:
        print(f"\r\033[K{str(doing)[: columns - 1]}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def width() -> int:
    """Columns of the terminal, at most 100; 80 where there is none."""
    return min(shutil.get_terminal_size().columns, 100) if sys.stdout.isatty() else 80


show_lines = lazy("wellposed.show.lines")
show_plain = lazy("wellposed.plain")

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
