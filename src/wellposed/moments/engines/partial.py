"""What the engines share: what a worker sends home (the exact state of its rows, or the fault that it found in them), and what
opening a path takes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ...data.batches import batches
from ...data.source import PIECE_BYTES
from ...errors import ArgumentError, DataError, WellposedError
from ...lazy import lazy
from ..column_moments import ColumnMoments, ReadResult
from ..reduction import moments_of_piece, reduce_batch

arrow = lazy("wellposed.data.arrow")


@dataclass(frozen=True, kw_only=True)
class PartitionFault:
    """Why some rows cannot be reduced; a value, so that no engine retries it or buries it in a traceback."""

    message: str


State = ReadResult | PartitionFault
"""What a worker sends home: `ReadResult.moments` and `integers` of some rows, which merged in any order give the same bits."""
OBJECTS = "Python objects: cast it to a number type to have it normalised"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the table's schema says, decided once: every partition has to agree with it."""

    names: tuple[str, ...]
    integers: tuple[bool, ...]
    left_alone: Mapping[str, str]

    @property
    def empty(self) -> tuple[str, ...]:
        """Columns that hold nulls alone, as far as the schema knows."""
        return tuple(name for name, why in self.left_alone.items() if why == arrow.EMPTY)

    @property
    def read(self) -> tuple[str, ...]:
        """The columns that workers read."""
        return (*self.names, *self.empty)


def layout_of(schema: Any, *, columns: Sequence[str] = (), others: Mapping[str, str] | None = None) -> Layout:
    """The layout that a ``pyarrow.Schema`` gives.

    Parameters
    ----------
    schema
        Of the whole table.
    columns
        The columns that are read; by default all that hold numbers.
    others
        Columns whose type in the schema means nothing, and why they are left alone.

    Raises
    ------
    ArgumentError
        When `columns` has a name that is not there, or holds no numbers.
    DataError
        When two columns have one name, or none holds numbers.
    """
    numbers, integers, left_alone = arrow.kinds_of(schema)
    left_alone |= others or {}
    whole = {name: flag for name, flag in zip(numbers, integers, strict=True) if name not in left_alone}
    if not whole:
        others_listed = ", ".join(f"{name!r} ({why})" for name, why in list(left_alone.items())[:5])
        raise DataError(f"no column holds numbers: there is {others_listed or 'none'}")
    for name in columns:
        if name not in whole:
            why = f"holds no numbers: {left_alone[name]}" if name in left_alone else "is not in the table"
            raise ArgumentError(f"columns has {name!r}, which {why}; there is {', '.join(list(whole)[:12])}")
    chosen = set(columns) or whole.keys()
    names = tuple(name for name in whole if name in chosen)
    left_alone |= {name: "not chosen" for name in whole if name not in chosen}
    return Layout(names=names, integers=tuple(whole[name] for name in names), left_alone=left_alone)


def table_state(batches: Iterable[Any], layout: Layout, *, where: str, options: Mapping[str, Any]) -> State:
    """The state of a partition, given as ``pyarrow.RecordBatch``es."""
    return _guarded((_batch_state(batch, layout, options) for batch in _joined(batches)), where)


def array_state(arrays: Iterable[Any], *, axis: Any, where: str, options: Mapping[str, Any]) -> State:
    """The state of a partition, given as batches that `Moments.of` reads: arrays, pairs, dicts."""
    return _guarded((_array_state(array, axis, options) for array in arrays), where)


def merge(states: Iterable[State]) -> State:
    """The states as one; the first fault, when there is one."""
    total = ReadResult(moments=ColumnMoments.empty(), ndim=0)
    for state in states:
        if isinstance(state, PartitionFault):
            return state
        if total.ndim and state.ndim and total.ndim != state.ndim:
            return PartitionFault(
                message=f"batches of {total.ndim} and of {state.ndim} dimensions: expected one kind"
            )
        try:
            moments = total.moments | state.moments
        except DataError as error:
            return PartitionFault(message=str(error))
        integers = _both(total.integers, state.integers)
        total = ReadResult(moments=moments, integers=integers, ndim=total.ndim or state.ndim)
    return total


def table_result(state: State, layout: Layout, *, label: str) -> ReadResult:
    """The merged state of a table; raises what its fault says."""
    state = _sound(state)
    moments = state.moments if state.integers else ColumnMoments.empty(len(layout.names))
    seen = state.integers or (None,) * len(layout.names)
    integers = tuple(
        said if found is None else found for found, said in zip(seen, layout.integers, strict=True)
    )
    return ReadResult(
        moments=moments,
        names=layout.names,
        integers=integers,
        left_alone=layout.left_alone,
        ndim=2,
        label=label,
    )


def array_result(state: State, *, label: str) -> ReadResult:
    """The merged state of arrays; raises what its fault says."""
    state = _sound(state)
    if not state.ndim:
        raise DataError(f"{label} holds no batches: expected at least one")
    return replace(state, label=label)


def check_table_axis(axis: Any) -> None:
    """Refuse an axis that a table does not have."""
    if axis not in (None, 1, -1, (1,), (-1,)):
        raise ArgumentError(f"axis={axis!r}: a table has its statistics by column; leave axis out")


def _sound(state: State) -> ReadResult:
    if isinstance(state, PartitionFault):
        raise DataError(state.message)
    return state


def _joined(batches: Iterable[Any]) -> Iterator[Any]:
    """The same rows in larger batches: engines may pass one row at a time."""
    waiting: list[Any] = []
    size = 0
    for batch in batches:
        if batch.num_rows:
            waiting.append(batch)
            size += batch.nbytes
        if size >= PIECE_BYTES:
            yield from _as_one(waiting)
            waiting, size = [], 0
    yield from _as_one(waiting)


def _as_one(batches: Sequence[Any]) -> Sequence[Any]:
    import pyarrow as pa

    return batches if len(batches) < 2 else pa.Table.from_batches(batches).combine_chunks().to_batches()


def _batch_state(batch: Any, layout: Layout, options: Mapping[str, Any]) -> ReadResult:
    types = {field.name: field.type for field in batch.schema}
    for name in layout.empty:
        if name in types and arrow.why_left_alone(types[name]) is None:
            raise DataError(
                f"column {name!r} holds {types[name]}, and the table's schema says that it holds nulls "
                "alone: give it one type throughout"
            )
    piece = arrow.columns_of(batch, layout.names)
    integers = tuple(column.dtype.kind in "iu" if len(column) else None for column in piece.columns)
    return ReadResult(moments=moments_of_piece(piece, **options), integers=integers, ndim=2)


def _array_state(batch: Any, axis: Any, options: Mapping[str, Any]) -> ReadResult:
    if hasattr(batch, "columns"):
        raise DataError("a batch is a table: make a distributed table of it, which keeps its names")
    (array,) = batches([batch])
    moments = reduce_batch(array, axis=axis, **options)
    integers = (array.dtype.kind in "iu",) * moments.count.size
    return ReadResult(moments=moments, integers=integers, ndim=array.ndim)


def _both(a: tuple[bool | None, ...], b: tuple[bool | None, ...]) -> tuple[bool | None, ...]:
    if not a or not b:
        return a or b
    return tuple(y if x is None else x if y is None else x and y for x, y in zip(a, b, strict=True))


def _guarded(states: Iterable[ReadResult], where: str) -> State:
    """The states as one; what is wrong with the data is a fault that says where."""
    try:
        state = merge(states)
    except WellposedError as error:
        return PartitionFault(message=f"{where}: {error}")
    except Exception as error:  # no fault of the data: the engine may try again
        error.add_note(f"while reducing {where}")
        raise
    return PartitionFault(message=f"{where}: {state.message}") if isinstance(state, PartitionFault) else state


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
