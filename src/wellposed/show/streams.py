"""What goes where: results to standard output, notes and progress to standard error."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout

from ..errors import ProblemError


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
