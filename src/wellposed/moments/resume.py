"""Long reading: pieces reduced beside the reading of the next, kept in a checkpoint, resumed after any end."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from os import PathLike
from typing import TYPE_CHECKING, Any

from ..data.progress import Progress
from ..errors import ArgumentError, DataError
from .checkpoint import Checkpoint, Done
from .column_moments import ColumnMoments
from .exact.accumulator import load_ahead
from .pieces import moments_of_piece

if TYPE_CHECKING:
    from ..data.source import Piece, Source

EVERY_SECONDS = 5.0
"""At most this often is a checkpoint written."""
SHARE = 20
"""And so seldom that writing takes at most one part in this many of the time."""


def reduce_source(
    source: Source,
    *,
    checkpoint: str | PathLike[str] | Checkpoint | None = None,
    progress: Progress | None = None,
    threads: int = 2,
    **options: Any,
) -> ColumnMoments:
    """Moments of a source, whose pieces are reduced while the next one is read.

    At most ``threads + 1`` pieces are in memory. What was resumed is what was read at once, to the last bit;
    only sketches (``quantiles=True``) draw random numbers, and repeat within their `rank_error`.

    Parameters
    ----------
    source
        What `data.open.open_source` gives.
    checkpoint
        A file that holds what is done: written every few seconds and when anything ends the reading early,
        Ctrl-C included; read when it is there; removed at the end. A `Checkpoint` is left for its owner to
        discard.
    progress
        Called after each piece with ``(done_bytes, total_bytes, rows)``; the total is None where it is
        unknown. The first call says where the reading starts.
    threads
        How many reduce beside the one that reads.
    options
        Go to `moments_of_piece`: ``covariance``, ``quantiles``, ``axis``.

    Raises
    ------
    ArtifactError
        When the checkpoint is damaged, or of other data or options.
    DataError
        When the source gives other rows than it said it has.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ArgumentError(f"threads={threads!r}: expected a whole number from 1")
    keeper = _Keeper(checkpoint, source, options)
    done = keeper.done_before()
    _recall(source, done)
    report = progress or (lambda *_: None)
    report(done.bytes, source.bytes, done.moments.rows)
    try:
        with closing(_steps(source, done, threads, options)) as steps:
            for done in steps:
                keeper.keep(done)
                report(done.bytes, source.bytes, done.moments.rows)
    except BaseException as error:
        keeper.rescue(done, error)
        raise
    _check_whole(source, done)
    keeper.finish(done)
    return done.moments


def _recall(source: Source, done: Done) -> None:
    """Tell the source what the pieces that are not read again told: of text, which columns are no integers."""
    if not done.pieces or source.integers == done.integers:
        return
    source.recall(done.integers)


def _steps(source: Source, done: Done, threads: int, options: dict[str, Any]) -> Generator[Done]:
    """What is done after each piece; a step is whole or is not taken, wherever an interrupt strikes."""
    with _pool(threads) as pool, _closed(source.pieces(start=done.pieces)) as pieces:
        waiting: deque[tuple[int, Future[ColumnMoments]]] = deque()
        pool.submit(load_ahead, (source.rows or 0) * len(source.names or ()))
        for piece in pieces:
            waiting.append((piece.bytes, pool.submit(moments_of_piece, piece, **options)))
            del piece  # the pool holds it as long as it is needed
            if len(waiting) > threads:
                done = _with(done, *waiting.popleft(), source.integers)
                yield done
        while waiting:
            done = _with(done, *waiting.popleft(), source.integers)
            yield done


def _with(done: Done, size: int, future: Future[ColumnMoments], integers: tuple[bool, ...]) -> Done:
    return Done(
        pieces=done.pieces + 1,
        bytes=done.bytes + size,
        moments=done.moments | future.result(),
        integers=integers,
    )


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(threads, thread_name_prefix="wellposed-reduce")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _closed(pieces: Iterator[Piece]) -> Iterator[Iterator[Piece]]:
    try:
        yield pieces
    finally:
        if hasattr(pieces, "close"):
            pieces.close()  # type: ignore[attr-defined]


def _check_whole(source: Source, done: Done) -> None:
    """The rows are counted twice, by the source and by the moments: a piece lost or read twice would show."""
    if source.rows is not None and done.moments.rows != source.rows:
        raise DataError(
            f"{source.label}: {done.moments.rows:,} rows were read, expected {source.rows:,}: it changed while "
            "it was read; start again, without a checkpoint that was begun before"
        )


class _Keeper:
    """When the checkpoint is written; without one, nothing."""

    def __init__(
        self, given: str | PathLike[str] | Checkpoint | None, source: Source, options: dict[str, Any]
    ) -> None:
        self._owned = not isinstance(given, Checkpoint)
        self._file = Checkpoint(given) if isinstance(given, str | PathLike) else given
        self._begun = self._file.begin(source, options) if self._file else {}
        self._next = time.monotonic() + EVERY_SECONDS
        self._warned = False

    def done_before(self) -> Done:
        found = self._file.read(self._begun) if self._file else None
        return found or Done(pieces=0, bytes=0, moments=ColumnMoments.empty())

    def keep(self, done: Done) -> None:
        """Write when it is time; a full disk is told once, and the work goes on."""
        start = time.monotonic()
        if self._file is None or start < self._next:
            return
        try:
            self._file.write(self._begun, done)
        except OSError as error:
            if not self._warned:
                warnings.warn(f"{_not_written(self._file, error)}; the reading goes on", stacklevel=3)
            self._warned = True
        end = time.monotonic()
        self._next = end + max(EVERY_SECONDS, SHARE * (end - start))

    def rescue(self, done: Done, error: BaseException) -> None:
        """Write what is done before `error` ends the work, and say in a note of it how to go on."""
        if self._file is None or not done.pieces:
            return
        try:
            self._file.write(self._begun, done)
        except OSError as failure:
            error.add_note(_not_written(self._file, failure))
        else:
            rows = done.moments.rows
            error.add_note(f"{rows:,} rows are kept in {self._file.path}: run the same again to go on")

    def finish(self, done: Done) -> None:
        if self._file is None:
            return
        if self._owned:
            self._file.discard()
        else:
            self._next = 0.0
            self.keep(done)


def _not_written(file: Checkpoint, error: OSError) -> str:
    return f"the checkpoint {file.path} could not be written ({error.strerror or error})"
