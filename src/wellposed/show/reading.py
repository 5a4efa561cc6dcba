"""A bar of long reading on standard error: how much, how fast, how long still."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from ..data.source import Progress as Report

AFTER_SECONDS = 2.0
"""What is done sooner needs no bar."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """A reading at one moment.

    Rates count from the end of the first piece, so that neither what was resumed nor the start (opening files,
    compiling) bears on them.

    Examples
    --------
    >>> pace = Pace(bytes=300, total=500, rows=30, elapsed=3.0, seconds=2.0, bytes_here=200, rows_here=20)
    >>> pace.bytes_per_second, pace.rows_per_second, pace.seconds_left
    (100.0, 10.0, 2.0)
    """

    bytes: int
    total: int | None
    rows: int
    elapsed: float
    """Seconds since the reading began."""
    seconds: float
    """Since the first piece was done."""
    bytes_here: int
    """Done since then."""
    rows_here: int

    @property
    def bytes_per_second(self) -> float:
        return self.bytes_here / self.seconds if self.seconds > 0 else 0.0

    @property
    def rows_per_second(self) -> float:
        return self.rows_here / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """None while there is no rate, or no total, to tell it from."""
        if self.total is None or not self.bytes_per_second:
            return None
        return max(0, self.total - self.bytes) / self.bytes_per_second


def paced(show: Callable[[Pace], object], *, clock: Callable[[], float] = time.monotonic) -> Report:
    """A ``progress=`` callable that gives `show` the pace.

    Examples
    --------
    >>> seconds = iter([0.0, 5.0, 9.0])
    >>> progress = paced(lambda p: print(p.bytes_per_second, p.seconds_left), clock=lambda: next(seconds))
    >>> for done in (0, 200, 1000):
    ...     progress(done, 1200, 0)
    0.0 None
    0.0 None
    200.0 1.0
    """
    reports: list[tuple[float, int, int]] = []

    def progress(done: int, total: int | None, rows: int) -> None:
        now = clock()
        if len(reports) < 2:
            reports.append((now, done, rows))
        began, (first, bytes_before, rows_before) = reports[0][0], reports[-1]
        show(
            Pace(
                bytes=done,
                total=total,
                rows=rows,
                elapsed=now - began,
                seconds=now - first,
                bytes_here=done - bytes_before,
                rows_here=rows - rows_before,
            )
        )

    return progress


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
