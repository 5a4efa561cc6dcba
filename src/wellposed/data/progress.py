"""How fast a reading goes and how long it still takes; what is shown of it is decided elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[int, "int | None", int], object]
"""Called with the bytes that are done, the bytes there are (None when unknown), and the rows that are done."""


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


def paced(show: Callable[[Pace], object], *, clock: Callable[[], float] = time.monotonic) -> Progress:
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
