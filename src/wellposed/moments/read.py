"""Read the training data once, whatever holds them: an engine, a source of files or tables, or batches in this process."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import told
from ..data.batches import as_array, batches, column_names, whole_array
from ..data.frames import as_table
from ..data.open import open_source
from ..errors import ArgumentError, DataError
from ..lazy import lazy
from .column_moments import ReadResult
from .moments import Moments
from .reduction import Reduction, kept_axes, reduce_on_device
from .resume import reduce_source
from .sparse import check_axis, entries_of, reduce_sparse
from .weighted import reduce_weighted

engines = lazy("wellposed.moments.engines")

if TYPE_CHECKING:
    from ..data.source import Progress
    from .resume import Checkpoint


def read(
    data: Any,
    *,
    axis: int | tuple[int, ...] | None = None,
    mask: Any = None,
    sample_weight: Any = None,
    engine: str | None = None,
    columns: Sequence[Any] = (),
    checkpoint: str | PathLike[str] | Checkpoint | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> ReadResult:
    """Read everything once; `options` are those of `Moments.of`.

    Of files, only the `columns` that are named are read; a covariance is of these alone, so that entries that
    are missing elsewhere cost it no rows.
    """
    entries = entries_of(data) if engine is None else None
    if entries is not None:
        check_axis(axis, mask, entries)
        _refuse(checkpoint=checkpoint, where="in memory")
        if sample_weight is not None:
            return ReadResult(moments=reduce_weighted(data, sample_weight, **options), ndim=2)
        return ReadResult(moments=reduce_sparse(entries, **options), ndim=2)
    engine = engines.engine_of(data) if engine is None else engine
    if engine is not None:
        _refuse(mask=mask, sample_weight=sample_weight, checkpoint=checkpoint, where=f"read by {engine}")
        return engines.reduce_with(engine, data, columns=_texts(columns), axis=axis, **options)
    source = _source(data)
    if source is not None:
        _refuse(mask=mask, sample_weight=sample_weight, where="a table or in files")
        named = [] if source.names is None else _texts(columns)
        in_memory = as_table(data[0] if isinstance(data, tuple) else data) is not None
        if in_memory:
            _refuse(checkpoint=checkpoint, where="in memory")
        # Of a data frame every column is read, so that an array of them all fits the normalizer too.
        if in_memory and named and set(named) <= set(source.names or ()):
            return _by_frame(source, named, axis=axis, progress=progress, **options)
        source = source.select(named) if named else source
        return _by_source(source, axis=axis, checkpoint=checkpoint, progress=progress, **options)
    _refuse(checkpoint=checkpoint, where="in memory")
    if mask is not None or sample_weight is not None:
        return _in_one_array(data, mask, sample_weight, columns, axis=axis, **options)
    return _in_batches(data, columns, axis=axis, progress=progress, **options)


def _refuse(*, where: str, **arguments: Any) -> None:
    why = {
        "mask": "mask is for one array or tensor in memory",
        "sample_weight": "sample_weight is for one array, tensor or sparse matrix in memory, such as frame.to_numpy()",
        "checkpoint": "checkpoint is for data that are read from files in this process",
    }
    for name, value in arguments.items():
        if value is not None:
            raise ArgumentError(f"{why[name]}, and these data are {where}: leave {name} out")


def _source(data: Any) -> Any:
    """The source, when the data are one, or have one; of a pair, the inputs."""
    if isinstance(data, tuple) and len(data) == 2 and hasattr(data[0], "__arrow_c_stream__"):
        inputs, targets = data
        if targets is not None and hasattr(targets, "__len__") and len(targets) != len(inputs):
            raise DataError(
                f"a tuple is a pair (inputs, targets), and these have {len(inputs)} and {len(targets)} rows: put "
                "batches in a list"
            )
        data = inputs
    return open_source(data)


def _texts(columns: Sequence[Any]) -> list[str]:
    """The columns to read, where all are given by name; else none, which reads everything."""
    named = [c for c in columns if isinstance(c, str)]
    return named if len(named) == len(columns) else []


def _by_frame(source: Any, named: Sequence[str], *, covariance: bool = False, **options: Any) -> ReadResult:
    whole = _by_source(source, **options)
    if not covariance:
        return whole
    return replace(whole, mixing=_by_source(source.select(named), covariance=True, **options).moments)


def _by_source(source: Any, *, axis: Any, **options: Any) -> ReadResult:
    if source.names is None:
        options["axis"] = axis
    elif axis not in (None, 1, -1):
        raise ArgumentError(f"axis={axis!r} is for arrays: a table has its statistics by column")
    moments = reduce_source(source, **options)
    return ReadResult(
        moments=moments,
        ndim=source.ndim,
        names=source.names,
        integers=tuple(source.integers),
        left_alone=dict(source.left_alone),
        remarks=source.remarks,
        label=source.label,
    )


def _in_one_array(
    data: Any, mask: Any, sample_weight: Any, columns: Sequence[Any], *, axis: Any, **options: Any
) -> ReadResult:
    inputs = data[0] if isinstance(data, tuple) and len(data) == 2 else data
    if isinstance(inputs, str | bytes) or (hasattr(inputs, "__iter__") and not hasattr(inputs, "shape")):
        name, mend = (
            ("sample_weight", "put batches into one array")
            if mask is None
            else ("mask", "set masked entries of batches to NaN, which is left out of the statistics")
        )
        raise ArgumentError(f"{name} is for one array or tensor in memory, found {told(inputs)}: {mend}")
    pair = None if inputs is data else whole_array(data)  # which holds their rows against each other
    array = as_array(inputs) if pair is None else pair
    names = column_names(data)
    counted: dict[str, Any] = {
        "axis": axis,
        "mask": None if mask is None else _as_mask(mask, array.shape),
        "sample_weight": sample_weight,
    }
    mixing = None
    part = _named_columns(array, columns, names, axis) if options.get("covariance") else None
    if part is not None:
        mixing, options = Moments.of(part, **counted, **options), {}
    return ReadResult(
        moments=Moments.of(array, **counted, **options), ndim=array.ndim, names=names, mixing=mixing
    )


def _as_mask(mask: Any, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    flags = as_array(mask, "mask")
    if flags.dtype.kind != "b":
        raise ArgumentError(f"mask has dtype {flags.dtype}: expected booleans, True where an entry counts")
    if flags.shape != shape[: flags.ndim]:
        raise ArgumentError(
            f"mask has shape {flags.shape}, the data {shape}: expected the data's leading axes, such as "
            f"{shape[: max(1, len(shape) - 1)]}"
        )
    return flags


def _in_batches(
    data: Any, columns: Sequence[Any], *, axis: Any, progress: Progress | None, **options: Any
) -> ReadResult:
    on_device = reduce_on_device(data, axis=axis, **options)
    if on_device is not None:
        return ReadResult(moments=on_device, ndim=data.ndim)
    names, ndim, size, rows = column_names(data), 0, 0, 0
    whole, mixing = Reduction(axis=axis, **options), Reduction(axis=axis, **options)
    with closing(batches(data)) as arrays:
        for batch in arrays:
            if ndim and batch.ndim != ndim:
                raise DataError(
                    f"batches have {ndim} and {batch.ndim} dimensions: expected the same in every batch"
                )
            part = _named_columns(batch, columns, names, axis) if options.get("covariance") else None
            if part is not None:
                if not ndim:
                    whole = Reduction(axis=axis)
                mixing.add(part)
            whole.add(batch)
            ndim, rows, size = batch.ndim, rows + len(batch), size + batch.nbytes
            if progress is not None:
                progress(size, None, rows)
    mixed = mixing.moments()
    return ReadResult(moments=whole.moments(), ndim=ndim, names=names, mixing=mixed if mixed.rows else None)


def _named_columns(batch: Any, columns: Sequence[Any], names: Any, axis: Any) -> Any:
    """The columns that are named, in the order of the data; None where that is all of them."""
    kept = kept_axes(batch.ndim, axis)
    places: list[Any] = [
        names.index(c) if isinstance(c, str) and names and c in names else c for c in columns
    ]
    if len(kept) != 1 or not places or not all(isinstance(c, int | np.integer) for c in places):
        return None
    width = batch.shape[kept[0]]
    if len(places) == width or not all(0 <= c < width for c in places):
        return None
    return batch[(slice(None),) * kept[0] + (sorted(int(c) for c in places),)]
