"""Ray: a Dataset, by ``map_batches`` over whole blocks in Arrow's form."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ...errors import DataError
from ..column_moments import ReadResult
from .partial import (
    OBJECTS,
    Layout,
    State,
    array_result,
    array_state,
    check_table_axis,
    environment,
    failing_to_open,
    layout_of,
    merge,
    table_result,
    table_state,
)

_STATES_A_TASK = 64


def reduce(data: Any, *, columns: Sequence[str], axis: Any, options: Mapping[str, Any]) -> ReadResult:
    """Moments of a Ray Dataset; runs on the cluster that Ray is connected to."""
    schema = data.schema()
    if schema is None:
        raise DataError("the Ray Dataset has no rows and no columns: expected at least one row")
    if len(schema.names) == 1 and _is_tensor(schema.types[0]):
        return _reduce_tensors(data, schema.names[0], axis, options)
    check_table_axis(axis)
    layout = _layout(schema, columns)
    states = data.select_columns(list(layout.read)).map_batches(
        _block_state,
        fn_kwargs={"layout": layout, "options": dict(options)},
        batch_format="pyarrow",
        batch_size=None,
        zero_copy_batch=True,
    )
    return table_result(_merged(states), layout, label="a Ray Dataset")


@contextmanager
def opened(paths: Sequence[str]) -> Iterator[Any]:
    """A Dataset of Parquet files, on the cluster in force; without one, on a local one of our own."""
    import ray
    import ray.data

    ours = not ray.is_initialized()
    if ours:
        with environment(RAY_USAGE_STATS_ENABLED="0"):
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        with failing_to_open(paths):
            data = ray.data.read_parquet(list(paths))
        yield data
    finally:
        if ours:
            ray.shutdown()


def _reduce_tensors(data: Any, name: str, axis: Any, options: Mapping[str, Any]) -> ReadResult:
    states = data.map_batches(
        _tensor_state,
        fn_kwargs={"name": name, "axis": axis, "options": dict(options)},
        batch_format="numpy",
        batch_size=None,
        zero_copy_batch=True,
    )
    return array_result(_merged(states), label="a Ray Dataset")


def _layout(schema: Any, columns: Sequence[str]) -> Layout:
    import pyarrow as pa

    fields, others = [], {}
    for name, type_ in zip(schema.names, schema.types, strict=True):
        fields.append((name, type_ if isinstance(type_, pa.DataType) else pa.null()))
        if _is_tensor(type_):
            others[name] = "tensors: select this column alone to have it normalised"
        elif not isinstance(type_, pa.DataType):
            others[name] = OBJECTS
    return layout_of(pa.schema(fields), columns=columns, others=others)


def _is_tensor(type_: Any) -> bool:
    from ray.data.extensions import ArrowTensorType, ArrowTensorTypeV2

    return isinstance(type_, ArrowTensorType | ArrowTensorTypeV2)


def _merged(states: Any) -> State:
    merged = states.map_batches(_merge_rows, batch_format="pyarrow", batch_size=_STATES_A_TASK)
    return merge(pickle.loads(row["state"]) for row in merged.iter_rows())


def _block_state(block: Any, *, layout: Layout, options: Mapping[str, Any]) -> Any:
    where = f"a block of {block.num_rows:,} rows"
    return _table(table_state(block.to_batches(), layout, where=where, options=options))


def _tensor_state(block: Mapping[str, Any], *, name: str, axis: Any, options: Mapping[str, Any]) -> Any:
    where = f"a block of {len(block[name]):,} rows"
    return _table(array_state([block[name]], axis=axis, where=where, options=options))


def _merge_rows(block: Any) -> Any:
    return _table(merge(pickle.loads(entry.as_py()) for entry in block.column("state")))


def _table(state: State) -> Any:
    import pyarrow as pa

    return pa.table({"state": pa.array([pickle.dumps(state)], pa.binary())})
