"""Spark: a DataFrame, by ``mapInArrow``; classic sessions and Spark Connect alike."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from ...data.column_names import places_of
from ..column_moments import ReadResult
from .partial import (
    Layout,
    State,
    check_table_axis,
    environment,
    failing_to_open,
    layout_of,
    merge,
    table_result,
    table_state,
)

_STATE = "state binary"
_MERGERS = 4
"""Tasks that merge the partitions' states, so that the driver receives a few, however many there are."""


def reduce(data: Any, *, columns: Sequence[str], axis: Any, options: Mapping[str, Any]) -> ReadResult:
    """Moments of a Spark DataFrame; runs in the DataFrame's own session."""
    check_table_axis(axis)
    if hasattr(data, "to_spark"):  # pandas on Spark
        data = data.to_spark()
    layout = _layout(data, columns)
    place = places_of(data.columns)
    places = [place[name] for name in layout.read]
    # By place: names may hold dots and backticks, or differ in their capitals only.
    numbered = data.toDF(*(f"c{i}" for i in range(len(data.columns)))).select(*(f"c{i}" for i in places))
    states = numbered.mapInArrow(_mapper(layout, options), _STATE)
    merged = states.repartition(_MERGERS).mapInArrow(_merge_rows, _STATE)
    state = merge(pickle.loads(bytes(row.state)) for row in merged.collect())
    return table_result(state, layout, label="a Spark DataFrame")


@contextmanager
def opened(paths: Sequence[str]) -> Iterator[Any]:
    """A DataFrame of Parquet files, in the session in force; without one, in a local one of our own."""
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    with ExitStack() as stack:
        try:
            session = SparkSession.active()
        except PySparkRuntimeError:
            session = stack.enter_context(_local_session())
        with failing_to_open(paths):
            frame = session.read.parquet(*paths)
        yield frame


@contextmanager
def _local_session() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[*]").appName("wellposed")
    for key in ("spark.ui.enabled", "spark.ui.showConsoleProgress"):
        builder = builder.config(key, "false")
    # Spark would start whichever python3 comes first in PATH, which may have no wellposed.
    with environment(PYSPARK_PYTHON=sys.executable):
        session = builder.getOrCreate()
    try:
        yield session
    finally:
        session.stop()


def _layout(data: Any, columns: Sequence[str]) -> Layout:
    import pyarrow as pa
    from pyspark.errors import PySparkException
    from pyspark.sql.pandas.types import to_arrow_type

    fields, others = [], {}
    for field in data.schema.fields:
        try:
            fields.append((field.name, to_arrow_type(field.dataType)))
        except PySparkException:
            fields.append((field.name, pa.null()))
            others[field.name] = field.dataType.simpleString()
    return layout_of(pa.schema(fields), columns=columns, others=others)


def _mapper(layout: Layout, options: Mapping[str, Any]) -> Callable[[Iterator[Any]], Iterator[Any]]:
    def partition_state(batches: Iterator[Any]) -> Iterator[Any]:
        from pyspark import TaskContext

        context = TaskContext.get()
        where = f"partition {context.partitionId() if context else '?'}"
        yield _row(table_state(_named(batches, layout.read), layout, where=where, options=options))

    return partition_state


def _named(batches: Iterator[Any], names: Sequence[str]) -> Iterator[Any]:
    import pyarrow as pa

    for batch in batches:
        yield pa.RecordBatch.from_arrays(batch.columns, names=list(names))


def _merge_rows(batches: Iterator[Any]) -> Iterator[Any]:
    states = (pickle.loads(entry.as_py()) for batch in batches for entry in batch.column(0))
    yield _row(merge(states))


def _row(state: State) -> Any:
    import pyarrow as pa

    return pa.RecordBatch.from_pydict({"state": pa.array([pickle.dumps(state)], pa.binary())})
