"""Engines beyond one machine: they map our kernel over batches and merge our state, and compute nothing else.

A partition's state is exact, so Dask, Spark, Ray and one machine give the same bits, however the rows are cut
and in whatever order the states arrive. The workers need wellposed (and pyarrow) installed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from glob import glob, has_magic
from importlib import import_module
from pathlib import Path
from typing import Any

from ...choices import ENGINES
from ...errors import ArgumentError, DataError, MissingDependency
from ..column_moments import ReadResult

__all__ = ["engine_of", "reduce_with"]

_KINDS = {
    "dask": {"DataFrame", "Series", "Array", "Bag", "Delayed"},
    "pyspark": {"DataFrame"},
    "ray": {"Dataset"},
}
_PACKAGES = {"dask": "dask.dataframe", "spark": "pyspark.sql", "ray": "ray.data"}


def engine_of(data: Any) -> str | None:
    """The engine that holds `data`, told by its type alone; None when it is none of them.

    A pair ``(inputs, targets)`` belongs to the engine of its inputs, a list to that of its first entry.

    Examples
    --------
    >>> engine_of([1.0, 2.0]) is None
    True
    """
    if isinstance(data, tuple | list):
        return engine_of(data[0]) if data and not isinstance(data[0], tuple | list) else None
    for kind in type(data).__mro__:
        package = kind.__module__.partition(".")[0]
        if kind.__name__ in _KINDS.get(package, ()):
            return "spark" if package == "pyspark" else package
    return None


def reduce_with(
    engine: str,
    data: Any,
    *,
    columns: Sequence[str] = (),
    axis: int | tuple[int, ...] | None = None,
    covariance: bool = False,
    quantiles: bool = False,
) -> ReadResult:
    """Moments of distributed data, to the bit what one machine gives.

    Parameters
    ----------
    engine
        ``"dask"``, ``"spark"`` or ``"ray"``.
    data
        What the engine holds: a Dask DataFrame, Series, Array (samples along the first axis), Bag or list of
        delayed batches; a Spark DataFrame; a Ray Dataset; a pair of such inputs with their targets. Or a
        Parquet file, a folder or glob of them, or a list of paths (URLs too, as far as the engine knows
        them), which the engine opens: on the client, session or cluster in force, or on one that is started
        here and shut down afterwards.
    columns
        Names of the columns of a table that are read; by default all that hold numbers.
    axis
        For arrays: the axes that are kept; see `Moments.of`. A table is reduced by column.
    covariance, quantiles
        As in `Moments.of`.

    Raises
    ------
    ArgumentError
        When an argument has a value that it cannot take, or the data are not the engine's.
    DataError
        When no column holds numbers, or a partition does not fit the schema; names both.
    MissingDependency
        When the engine is not installed here, or wellposed is not installed on its workers.
    """
    if engine not in ENGINES:
        raise ArgumentError(f"engine={engine!r}: expected one of {', '.join(ENGINES)}")
    module = _module(engine)
    options = {
        "columns": columns,
        "axis": axis,
        "options": {"covariance": covariance, "quantiles": quantiles},
    }
    with _workers_that_have_us(engine):
        if (paths := _paths(data)) is None:
            _check_held(engine, data)
            return module.reduce(data[0] if isinstance(data, tuple) else data, **options)
        label = ", ".join(paths[:3]) + (", ..." if len(paths) > 3 else "")
        with module.opened(paths) as opened:
            return replace(module.reduce(opened, **options), label=label)


@contextmanager
def _workers_that_have_us(engine: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        chain, at = "", error
        while at is not None:
            chain, at = chain + str(at), at.__cause__ or at.__context__
        if "No module named 'wellposed'" not in chain:
            raise
        raise MissingDependency(
            f"the workers of {engine} cannot import wellposed: install it in their environment, in the version "
            "that runs here"
        ) from error


def _check_held(engine: str, data: Any) -> None:
    holder = engine_of(data)
    if holder == engine:
        return
    kind = type(data).__name__
    raise ArgumentError(
        f"engine={engine!r}: found a {kind} of {holder}; leave engine out, the data decide"
        if holder
        else f"engine={engine!r}: found a {kind}, expected what {engine} holds, or the path of Parquet files; "
        "leave engine out for data on this machine"
    )


def _module(engine: str) -> Any:
    try:
        for package in (_PACKAGES[engine], "pyarrow"):
            import_module(package)
    except ImportError as error:
        raise MissingDependency(
            f"engine={engine!r} is not installed ({error}): pip install 'wellposed[{engine}]'"
        ) from None
    return import_module(f".{engine}", __name__)


def _paths(data: Any) -> list[str] | None:
    """The Parquet files or folders that `data` names; None when it names nothing."""
    parts: list[Any] = data if isinstance(data, list) and data else [data]
    if not all(isinstance(part, str | os.PathLike) for part in parts):
        return None
    return [path for part in parts for path in _existing(os.fspath(part))]


def _existing(path: str) -> list[str]:
    if "://" in path:
        return [path]
    paths = sorted(glob(path)) if has_magic(path) and not Path(path).exists() else [path]
    if not paths or not Path(paths[0]).exists():
        raise DataError(f"no such file or folder: {path}")
    for one in paths:
        if Path(one).is_file() and Path(one).suffix not in (".parquet", ".pq"):
            raise ArgumentError(f"{one}: an engine opens Parquet files; read others without engine")
    return paths
