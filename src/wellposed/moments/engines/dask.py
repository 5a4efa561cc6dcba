"""Dask: a DataFrame, an Array, a Bag or delayed batches, on whatever scheduler or cluster is in force."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...errors import ArgumentError, DataError
from ..column_moments import ReadResult
from .partial import (
    OBJECTS,
    Layout,
    State,
    array_result,
    array_state,
    check_table_axis,
    failing_to_open,
    layout_of,
    merge,
    table_result,
    table_state,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_FAN_IN = 8
"""States that one task merges: a tree, so that no worker receives the states of all partitions."""


def reduce(data: Any, *, columns: Sequence[str], axis: Any, options: Mapping[str, Any]) -> ReadResult:
    """Moments of a Dask collection; runs on the current client, or the scheduler that Dask is set to."""
    from dask.array import Array
    from dask.bag import Bag
    from dask.dataframe import DataFrame, Series

    if isinstance(data, DataFrame | Series):
        frame = data.to_frame() if isinstance(data, Series) else data
        return _reduce_frame(frame, columns, axis, options)
    if isinstance(data, Array):
        return _reduce_array(data, axis, options)
    if isinstance(data, Bag):
        return _reduce_batches(data.to_delayed(), axis, options, label="a Dask Bag", holds_many=True)
    parts = list(data) if isinstance(data, list | tuple) else [data]
    return _reduce_batches(parts, axis, options, label="Dask delayed batches", holds_many=False)


@contextmanager
def opened(paths: Sequence[str]) -> Iterator[Any]:
    """A DataFrame of Parquet files, with Arrow's types: integers stay exact where there are nulls."""
    import dask.dataframe

    with failing_to_open(paths):
        frame = dask.dataframe.read_parquet(list(paths), dtype_backend="pyarrow")
    yield frame


def frame_state(
    frame: Any, layout: Layout, labels: Sequence[Any], where: str, options: Mapping[str, Any]
) -> State:
    """The state of one pandas partition."""
    return table_state(_record_batches(frame, layout.read, labels), layout, where=where, options=options)


def _reduce_frame(data: Any, columns: Sequence[str], axis: Any, options: Mapping[str, Any]) -> ReadResult:
    check_table_axis(axis)
    layout, labels = _layout(data, columns)
    states = [
        _task(frame_state)(part, layout, labels, f"partition {i}", options)
        for i, part in enumerate(data[labels].to_delayed())
    ]
    return table_result(_merged(states), layout, label="a Dask DataFrame")


def _layout(data: Any, columns: Sequence[str]) -> tuple[Layout, list[Any]]:
    """The layout, and the labels of the columns that are read (a label may be a number or a tuple)."""
    import pyarrow as pa
    from dask.dataframe.dispatch import meta_nonempty

    meta = meta_nonempty(data._meta)
    fields, others = [], {}
    for i, label in enumerate(meta.columns):
        type_ = _arrow_type(meta.iloc[:, i])
        fields.append((str(label), pa.null() if type_ is None else type_))
        if type_ is None:
            others[str(label)] = OBJECTS if str(meta.dtypes.iloc[i]) == "object" else str(meta.dtypes.iloc[i])
    layout = layout_of(pa.schema(fields), columns=columns, others=others)
    labels = {str(label): label for label in meta.columns}
    return layout, [labels[name] for name in layout.read]


def _arrow_type(column: Any) -> Any:
    """The ``pyarrow.DataType``; None where only reading everything would show it."""
    import pyarrow as pa

    try:
        return None if str(column.dtype) == "object" else pa.array(column).type
    except (TypeError, ValueError, NotImplementedError):  # Arrow's own errors are among these
        return None


def _record_batches(frame: Any, names: Sequence[str], labels: Sequence[Any]) -> Iterator[Any]:
    import pyarrow as pa

    columns = {n: frame[label] for n, label in zip(names, labels, strict=True) if label in frame.columns}
    if len(frame):
        yield from pa.table({name: _arrow(column, name) for name, column in columns.items()}).to_batches()


def _arrow(column: Any, name: str) -> Any:
    import pyarrow as pa

    try:
        return pa.array(column, from_pandas=False)  # NaN stays NaN, so nothing is copied
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"column {name!r}: {error}") from None


def _reduce_array(data: Any, axis: Any, options: Mapping[str, Any]) -> ReadResult:
    if data.dtype.kind not in "biuf":
        raise DataError(f"the Dask array has dtype {data.dtype}: expected real numbers")
    if data.ndim == 0:
        raise DataError("the Dask array is a single number: expected samples along the first axis")
    if any(blocks > 1 for blocks in data.numblocks[1:]):  # samples are read whole
        data = data.rechunk({0: "auto", **dict.fromkeys(range(1, data.ndim), -1)})
    blocks = data.to_delayed().ravel().tolist()
    return _reduce_batches(blocks, axis, options, label="a Dask Array", holds_many=False)


def _reduce_batches(
    parts: Sequence[Any], axis: Any, options: Mapping[str, Any], *, label: str, holds_many: bool
) -> ReadResult:
    for i, part in enumerate(parts):
        if not hasattr(part, "dask"):
            raise ArgumentError(f"entry {i} of the list is a {type(part).__name__}: expected delayed batches")
    batches = parts if holds_many else [[part] for part in parts]
    states = [
        _task(array_state)(batch, axis=axis, where=f"partition {i}", options=options)
        for i, batch in enumerate(batches)
    ]
    return array_result(_merged(states), label=label)


def _task(function: Callable[..., Any]) -> Callable[..., Any]:
    from dask.delayed import delayed

    return delayed(function, pure=False)


def _merged(states: list[Any]) -> State:
    while len(states) > 1:
        states = [_task(merge)(states[i : i + _FAN_IN]) for i in range(0, len(states), _FAN_IN)]
    return states[0].compute()
