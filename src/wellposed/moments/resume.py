"""Long reading: pieces reduced beside the reading of the next, kept in a checkpoint, resumed after any end.

A checkpoint is a file that is whole or not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import path as path_of
from ..data.source import Progress
from ..errors import ArgumentError, ArtifactError, DataError
from ..own_files import remove_whole, write_whole
from ..version import __version__
from . import saved
from .column_moments import ColumnMoments
from .exact.accumulator import load_ahead
from .reduction import moments_of_piece

if TYPE_CHECKING:
    from ..data.source import Source

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
    writer = _CheckpointWriter(checkpoint, source, options)
    done = writer.done_before()
    if done.pieces and source.integers != done.integers:  # pieces that are not read again showed it
        source.recall(done.integers)
    report = progress or (lambda *_: None)
    report(done.bytes, source.bytes, done.moments.rows)
    try:
        with closing(_steps(source, done, threads, options)) as steps:
            for done in steps:
                writer.write_if_due(done)
                report(done.bytes, source.bytes, done.moments.rows)
    except BaseException as error:
        writer.write_before(done, error)
        raise
    _check_whole(source, done)
    writer.finish(done)
    return done.moments


def _steps(source: Source, done: Done, threads: int, options: dict[str, Any]) -> Generator[Done]:
    """What is done after each piece; a step is whole or is not taken, wherever an interrupt strikes."""
    with _pool(threads) as pool, closing(source.pieces(start=done.pieces)) as pieces:
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


def _check_whole(source: Source, done: Done) -> None:
    """The rows are counted twice, by the source and by the moments: a piece lost or read twice would show."""
    if source.rows is not None and done.moments.rows != source.rows:
        raise DataError(
            f"{source.label}: {done.moments.rows:,} rows were read, expected {source.rows:,}: it changed while "
            "it was read; start again, without a checkpoint that was begun before"
        )


class _CheckpointWriter:
    """Writes the checkpoint when it is due; without one it does nothing."""

    def __init__(
        self, given: str | PathLike[str] | Checkpoint | None, source: Source, options: dict[str, Any]
    ) -> None:
        self._owned = not isinstance(given, Checkpoint)
        self._file = Checkpoint(given) if isinstance(given, str | PathLike) else given
        self._begun = self._file.begin(source, options) if self._file else {}
        self._next = time.monotonic() + EVERY_SECONDS
        self._warned = False

    def done_before(self) -> Done:
        done = self._file.read(self._begun) if self._file else None
        return done or Done(pieces=0, bytes=0, moments=ColumnMoments.empty())

    def write_if_due(self, done: Done) -> None:
        """Write when it is due; a write that fails (a full disk) is warned of once and does not end the reading."""
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

    def write_before(self, done: Done, error: BaseException) -> None:
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
            self.write_if_due(done)


def _not_written(file: Checkpoint, error: OSError) -> str:
    return f"the checkpoint {file.path} could not be written ({error.strerror or error})"


_FORMAT = "wellposed-checkpoint"
_HEAD = f'{{"format": "{_FORMAT}", '
_OTHERWISE = "give the data and options that it was begun with, or delete it to start again"


@dataclass(frozen=True, kw_only=True, eq=False)
class Done:
    """The first pieces of a source, reduced."""

    pieces: int
    bytes: int
    """Of the source, as its pieces count them."""
    moments: ColumnMoments
    integers: tuple[bool, ...] = ()
    """Columns that were stored as integers so far; of text, that is known only by reading."""


@dataclass(frozen=True, init=False)
class Checkpoint:
    """A file that keeps what a reading has done, for the same reading to go on from.

    A path as ``checkpoint=`` is removed when the reading is done; a `Checkpoint` stays, finished, until its
    owner calls `discard`: after the result is safe too.

    Examples
    --------
    >>> Checkpoint("train.checkpoint").path.name
    'train.checkpoint'
    """

    path: Path

    def __init__(self, path: str | PathLike[str]) -> None:
        object.__setattr__(self, "path", path_of(path))

    def begin(self, source: Source, options: dict[str, Any]) -> dict[str, Any]:
        """What a checkpoint of this reading must agree with; refuse a place that cannot be written to.

        Raises
        ------
        ArgumentError
            When the file cannot be written there, or the source is none that could be read again.
        """
        folder = self.path.absolute().parent
        if self.path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            raise ArgumentError(
                f"checkpoint={str(self.path)!r}: expected a file in a folder that can be written"
            )
        if not source.identity:
            raise ArgumentError(
                f"checkpoint={str(self.path)!r}: {source.label} cannot be told apart from other data when it "
                "is read again; only files can be resumed"
            )
        return {
            "version": __version__,
            "source": source.label,
            "columns": None if source.names is None else list(source.names),
            "options": json.loads(json.dumps(options)),
            "bytes": source.bytes,
            "rows": source.rows,
            "identity": source.identity,
        }

    def read(self, begun: dict[str, Any]) -> Done | None:
        """What was done before, None when there is no such file.

        Raises
        ------
        ArtifactError
            When the file is none of ours, damaged, or of another reading than `begun`.
        """
        if not self.path.exists():
            return None
        body = self._body()
        self._check_same(body.get("begun"), begun)
        try:
            return _done_from(body)
        except (DataError, ArgumentError, ArtifactError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{self.path}: damaged ({error}): delete it to start again") from None

    def write(self, begun: dict[str, Any], done: Done) -> None:
        """Put a new file in place of the old one, whole, or leave the old one and raise OSError."""
        body = {
            "begun": begun,
            "pieces": done.pieces,
            "bytes": done.bytes,
            "integers": list(done.integers),
            "moments": saved.to_json(done.moments),
        }
        text = f'{_HEAD}"digest": "{_digest(body)}", "body": {json.dumps(body)}}}\n'
        write_whole(self.path, text.encode())

    def discard(self) -> None:
        """Remove the file, and what a killed process left beside it."""
        remove_whole(self.path)

    def _body(self) -> dict[str, Any]:
        with self.path.open("rb") as file:
            # A file that was named by mistake may be large and valuable: it is not read, nor called one to delete.
            if file.read(len(_HEAD)) != _HEAD.encode():
                raise ArtifactError(f"{self.path}: not a checkpoint of ours: name a file of its own")
            rest = file.read()
        try:
            content = json.loads(_HEAD + rest.decode())
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{self.path}: damaged ({error}): delete it to start again") from None
        body = content.get("body")
        if not isinstance(body, dict) or content.get("digest") != _digest(body):
            raise ArtifactError(f"{self.path}: damaged: delete it to start again")
        return body

    def _check_same(self, found: Any, begun: dict[str, Any]) -> None:
        if not isinstance(found, dict):
            raise ArtifactError(f"{self.path}: damaged: delete it to start again")
        for key, now in begun.items():
            if found.get(key) != now:
                raise ArtifactError(
                    f"{self.path} was begun with {_difference(key, found.get(key), now)}: {_OTHERWISE}"
                )


def _done_from(body: dict[str, Any]) -> Done:
    for key in ("pieces", "bytes"):
        if isinstance(body[key], bool) or not isinstance(body[key], int) or body[key] < 0:
            raise ValueError(f"{key} holds {str(body[key])[:40]}, expected a whole number from 0")
    return Done(
        pieces=body["pieces"],
        bytes=body["bytes"],
        moments=saved.from_json(body["moments"]),
        integers=tuple(map(bool, body["integers"])),
    )


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _difference(key: str, then: Any, now: Any) -> str:
    """What differs, in a few words."""
    if key == "identity":
        return "data of the same name and size that have changed since (or were written anew)"
    if key == "version":
        return f"wellposed {then}, and this is {now}, which may cut the data otherwise"
    if key == "columns" and isinstance(then, list) and isinstance(now, list):
        lacking, added = ([c for c in a if c not in b][:5] for a, b in ((then, now), (now, then)))
        words = [f"{word} {', '.join(c)}" for word, c in (("without", added), ("with", lacking)) if c]
        return f"other columns: {' and '.join(words) or 'in another order'}"
    if key == "options" and isinstance(then, dict) and isinstance(now, dict):
        words = [
            f"{what} {before}, and now it is {after}"
            for what, before, after in (
                ("method", _methods(then), _methods(now)),
                ("axis", then.get("axis"), now.get("axis")),
            )
            if before != after
        ]
        return " and ".join(words) or f"options {_short(then)}, and now they are {_short(now)}"
    return f"{key} {_short(then)}, and now it is {_short(now)}"


def _methods(options: dict[str, Any]) -> str:
    """Which methods need these statistics: the user named one of them."""
    if options.get("quantiles"):
        return "robust"
    return "whiten or zca" if options.get("covariance") else "standard, minmax or maxabs"


def _short(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)[:200]
