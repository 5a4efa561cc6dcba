"""What a long reading has done so far, in a file that is whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import path as path_of
from ..errors import ArgumentError, ArtifactError, DataError
from ..own_files import remove_whole, write_whole
from ..version import __version__
from . import saved
from .column_moments import ColumnMoments

if TYPE_CHECKING:
    from ..data.source import Source

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
            return _done(body)
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
            # Whatever was named by mistake may be large and dear, and is neither read nor to be deleted.
            if file.read(len(_HEAD)) != _HEAD.encode():
                raise ArtifactError(f"{self.path}: not a checkpoint of ours: name a file of its own")
            rest = file.read()
        try:
            held = json.loads(_HEAD + rest.decode())
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{self.path}: damaged ({error}): delete it to start again") from None
        body = held.get("body")
        if not isinstance(body, dict) or held.get("digest") != _digest(body):
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


def _done(body: dict[str, Any]) -> Done:
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
    """In words, and as short as it goes."""
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
