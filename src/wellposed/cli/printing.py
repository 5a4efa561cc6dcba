"""What goes to standard output, for people or machines, and what to standard error."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

FOUND = 1
"""Exit code of a command that found something."""
EXIT_CODES = {"ready": 0, "not ready": FOUND, "not examined": 4}
"""By the verdict of a report."""


def show(value: Any, form: str, *, text: Callable[[Any], str] = str, json: Any = None) -> None:
    """Print a result as text, or as JSON and nothing else."""
    if form == "json":
        from ..show.plain import to_json

        click.echo((json or to_json)(value))
    else:
        say(text(value))


def say(text: str) -> None:
    """Print for people: signs that the terminal cannot show are spelled out."""
    from ..show.lines import encodable

    click.echo(encodable(text, sys.stdout.encoding or "utf-8"), color=True)


def note(text: str) -> None:
    """Say on standard error what is no result."""
    click.echo(text, err=True)


def wrote(path: Path, left_alone: Iterable[str] = ()) -> None:
    from ..show.lines import clean

    left = ", ".join(left_alone)
    note(clean(f"wrote {path}" + (f"; left as it was: {left}" if left else "")))


def notes_of(error: BaseException) -> list[str]:
    """What was added to an exception on its way."""
    return getattr(error, "__notes__", [])


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Show warnings as people read them, without the line of code that gave them."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: note(f"warning: {message}")
        yield
