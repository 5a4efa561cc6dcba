"""What opening a path takes, whichever engine does it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ...errors import DataError


@contextmanager
def failing_to_open(paths: Sequence[str]) -> Iterator[None]:
    """Turn what an engine raises about the files into an error that names them."""
    try:
        yield
    except Exception as error:
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise DataError(f"{', '.join(paths[:3])}: cannot be opened as Parquet ({first[0]})") from error


@contextmanager
def environment(**defaults: str) -> Iterator[None]:
    """Environment variables that hold inside the block where the user has not set them."""
    ours = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
