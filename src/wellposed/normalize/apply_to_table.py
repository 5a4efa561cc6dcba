"""Parquet and Arrow files normalised: the same schema, and the untouched columns as they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.arrow import pyarrow, why_left_alone
from ..data.arrow_ipc import IpcPart
from ..data.column_names import printable
from ..data.parquet import ParquetPart
from ..data.paths import replacing
from ..errors import DataError
from .apply_to_file import normalised, wanted_of

if TYPE_CHECKING:
    from .normalizer import Normalizer


def apply_tabular(place: Path, kind: str, normalizer: Normalizer, target: Path) -> tuple[str, ...]:
    """Normalise a Parquet or Arrow file into another; gives the columns that were left as they were."""
    part = ParquetPart(place) if kind == "parquet" else IpcPart(place)
    wanted = wanted_of(normalizer, part.columns, part.label)
    schema = _schema(part.schema, wanted, part.label)
    with replacing(target) as temporary, part.writer(temporary, schema) as writer:
        for batch in part.batches():
            writer.write_batch(_batch(batch, wanted, schema, normalizer))
    return tuple(name for name in part.columns if name not in wanted)


def _schema(schema: Any, wanted: tuple[str, ...], label: str) -> Any:
    """The schema, with float32 where integers were; refused where a column holds no numbers."""
    pa = pyarrow()
    for name in wanted:
        i = schema.get_field_index(name)
        field = schema.field(i)
        why = why_left_alone(field.type)
        if why is not None:
            raise DataError(f"{label}: column {printable(name)} holds {why}, expected numbers")
        if not pa.types.is_floating(field.type):
            schema = schema.set(i, field.with_type(pa.float32()))
    return schema


def _batch(batch: Any, wanted: tuple[str, ...], schema: Any, normalizer: Normalizer) -> Any:
    pa = pyarrow()
    columns = {name: batch.column(name) for name in wanted}
    values = normalised(normalizer, {n: _floats(c) for n, c in columns.items()}, batch.num_rows)
    arrays = []
    for field, old in zip(schema, batch.columns, strict=True):
        if field.name in values:
            new = values[field.name].astype(field.type.to_pandas_dtype())
            old = pa.array(new, type=field.type, mask=_nulls(columns[field.name]))
        arrays.append(old)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _floats(column: Any) -> NDArray[np.float64]:
    return column.to_numpy(zero_copy_only=False).astype(np.float64)


def _nulls(column: Any) -> NDArray[np.bool_] | None:
    return column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
