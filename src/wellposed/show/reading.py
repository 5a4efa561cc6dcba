"""A bar of long reading on standard error: how much, how fast, how long still."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from ..data.progress import Pace, paced

if TYPE_CHECKING:
    from rich.console import Console

    from ..data.progress import Progress as Report

AFTER_SECONDS = 2.0
"""What is done sooner needs no bar."""


@contextmanager
def reading_progress(console: Console | None = None) -> Iterator[Report | None]:
    """Give a ``progress=`` callable that draws a bar once the work lasts; None where nobody watches."""
    if console is None and (not sys.stderr.isatty() or os.environ.get("TERM") == "dumb"):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    bar = Progress(
        BarColumn(
            bar_width=None, style="dim", complete_style="cyan", finished_style="cyan", pulse_style="cyan"
        ),
        TextColumn("{task.description}", markup=False),
        console=console or Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        expand=True,
    )
    task = bar.add_task("", total=None)

    def show(pace: Pace) -> None:
        if pace.elapsed >= AFTER_SECONDS:
            bar.update(task, completed=pace.bytes, total=pace.total, description=pace_line(pace))
            bar.start()

    try:
        yield paced(show)
    finally:
        bar.stop()


def pace_line(pace: Pace) -> str:
    """The pace in at most 60 columns.

    Examples
    --------
    >>> pace = Pace(
    ...     bytes=3 * 10**8, total=10**9, rows=10**6, elapsed=3.0, seconds=2.0, bytes_here=10**8, rows_here=500_000
    ... )
    >>> pace_line(pace)
    '300 MB of 1.00 GB  50.0 MB/s  250 k rows/s  0:00:14 left'
    """
    parts = [f"{_size(pace.bytes)}B" + ("" if pace.total is None else f" of {_size(pace.total)}B")]
    if pace.bytes_here:
        parts += [f"{_size(pace.bytes_per_second)}B/s", f"{_size(pace.rows_per_second).strip()} rows/s"]
    if pace.seconds_left is not None:
        parts += [f"{_time(pace.seconds_left)} left"]
    return "  ".join(parts)


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(min(seconds, 1e9))))


def _size(number: float) -> str:
    """Three digits and a unit of a thousand: ``"50.0 M"``."""
    power = 0
    while number >= 999.5 and power < 4:
        number, power = number / 1000, power + 1
    digits = 0 if number >= 99.95 or not power else 1 if number >= 9.995 else 2
    return f"{number:.{digits}f} {('', 'k', 'M', 'G', 'T')[power]}"
