"""From training data to a normalizer: read once, choose the columns, and make the map of the method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import callable_or_none, choice, path, refused, text
from ..choices import ENGINES
from ..data.batches import axis_for, targets_of
from ..data.column_names import NO_NAME, listed, printable
from ..data.held_out import check_split
from ..errors import ArgumentError, DataError
from ..moments.column_moments import ColumnMoments, ReadResult
from ..moments.read import read
from ..moments.reduction import kept_axes
from ..moments.resume import Checkpoint
from .fitted import FittedTransform, Provenance
from .methods import OPTIONS, WHITENING, Method, method_of, options_for, refuse_filling, transform

if TYPE_CHECKING:
    from ..data.source import Progress

_OF = ("inputs", "targets")
_NOT_CHOSEN = "not chosen"
_EXACT = 2.0**53  # integers up to here are exact in float64
_BLUR = 0.01


def fit(
    train: Any,
    *,
    method: str,
    of: str,
    columns: Sequence[str] | Sequence[int] | None,
    axis: int | tuple[int, ...] | None,
    mask: Any,
    sample_weight: Any,
    engine: str | None,
    split: str | None,
    source: str | None,
    checkpoint: str | PathLike[str] | Checkpoint | None,
    progress: Progress | None,
    **options: Any,
) -> FittedTransform:
    """See `Normalizer.fit`; `options` are those of the method."""
    asked = method_of(method, **options)
    choice(of, "of", _OF)
    if engine is not None:
        choice(engine, "engine", ENGINES)
    if source is not None:
        text(source, "source", expected="text, or None")
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        path(checkpoint, "checkpoint")
    callable_or_none(progress, "progress")
    doubt = check_split(split, train)
    axis = axis_for(train, axis)
    wanted = _wanted(columns)
    data = targets_of(train) if of == "targets" else train
    refuse_filling(asked, data)
    reading = read(
        data,
        axis=axis,
        mask=mask,
        sample_weight=sample_weight,
        engine=engine,
        columns=wanted or (),
        checkpoint=checkpoint,
        progress=progress,
        **options_for(method),
    )
    if reading.moments.rows == 0:
        raise DataError("the training data have no rows: expected at least one")
    remarks = [*reading.remarks, *([] if axis is not None else _layout(reading)), *([doubt] if doubt else [])]
    return normalizer_of(reading, asked, wanted, kept_axes(reading.ndim, axis), source, remarks)


def _layout(reading: ReadResult) -> list[str]:
    """What the axes of an array of more than two dimensions were taken for, where nobody said it."""
    columns = reading.moments.count.size
    if reading.ndim < 3:
        return []
    if reading.ndim == 3:
        form = f"read as (N, T, F), with {columns} features along axis 2"
        return [f"{form}; for (N, C, T) say axis=1, for images without channels axis=()"]
    last = ", H, W" if reading.ndim == 4 else ", ..."
    channels_last = f"(N{last}, C)"
    return [f"read as (N, C{last}), with {columns} channels along axis 1; for {channels_last} say axis=-1"]


def _wanted(columns: Any) -> list[Any] | None:
    if columns is None:
        return None
    if isinstance(columns, str) or not isinstance(columns, Sequence | np.ndarray) or len(columns) == 0:
        raise refused("columns", columns, "a list of names or numbers, at least one")
    wanted = list(columns)
    if len(set(map(str, wanted))) < len(wanted):
        raise ArgumentError(f"columns={wanted!r} names a column twice")
    return wanted


def normalizer_of(
    reading: ReadResult,
    method: Method,
    wanted: list[Any] | None,
    axis: tuple[int, ...],
    source: str | None = None,
    remarks: Sequence[str] = (),
) -> FittedTransform:
    """The normalizer of what was read; `wanted` as ``columns=`` of `Normalizer.fit`, `axis` the kept axes."""
    moments = reading.moments
    names, selected = _select(wanted, reading, moments.count.size)
    left_alone = dict(reading.left_alone)
    if wanted is None:
        codes = codes_among(moments, names, reading.integers)
        selected[list(codes)] = False
        left_alone |= {names[i]: why for i, why in codes.items()} if names else {}
    elif names is not None:
        left_alone |= {names[i]: _NOT_CHOSEN for i in np.flatnonzero(~selected)}
    label = _labels(names)
    _check_readable(moments, selected, label)
    if method.name in WHITENING and len(axis) != 1:
        raise ArgumentError(
            f"method={method.name!r} mixes columns, and the data keep axis {axis}: expected one axis"
        )
    map_ = transform(method, moments, selected.reshape(moments.shape), label, mixing=reading.mixing)
    filled = moments.count > 0
    return FittedTransform.made(
        method=method.name,
        **{option: getattr(method, option) for option in OPTIONS},
        names=names,
        ndim=reading.ndim,
        axis=axis,
        count=moments.count,
        mean=np.where(filled, moments.mean, 0.0),
        std=np.where(filled, moments.std, 0.0),
        minimum=np.where(filled, moments.minimum, 0.0),
        maximum=np.where(filled, moments.maximum, 0.0),
        missing=moments.missing,
        infinite=moments.infinite,
        constant=moments.constant | ~filled,
        selected=selected.reshape(moments.shape),
        center=map_.center,
        scale=map_.scale,
        rotation=map_.rotation,
        quartiles=None if map_.quartiles is None else np.where(np.isnan(map_.quartiles), 0.0, map_.quartiles),
        rank_error=map_.rank_error,
        left_alone=left_alone,
        remarks=(*map_.remarks, *_blurred(moments, selected, label), *remarks),
        provenance=Provenance(
            rows=moments.rows,
            source=source if source is not None else reading.label,
            split="train",
            fingerprint=moments.fingerprint,
        ),
    )


def _blurred(moments: ColumnMoments, selected: NDArray[np.bool_], label: Callable[[int], str]) -> list[str]:
    """Of integers that are exact in the statistics but not in the float64 that they are applied in."""
    largest = np.fmax(np.abs(moments.minimum), np.abs(moments.maximum)).ravel()
    lost = selected & (largest > _EXACT) & (np.spacing(largest) > _BLUR * moments.std.ravel())
    if not lost.any():
        return []
    names = listed([label(int(i)) for i in np.flatnonzero(lost)])
    return [f"integers too large for float64, which blurs them by over {_BLUR:.0%} of a std: {names}"]


def _labels(names: tuple[str, ...] | None) -> Callable[[int], str]:
    return lambda i: printable(names[i]) or NO_NAME if names else str(i)


def _select(
    wanted: list[Any] | None, reading: ReadResult, width: int
) -> tuple[tuple[str, ...] | None, NDArray[np.bool_]]:
    """Names of the columns, and which are to be normalised."""
    selected, names = np.zeros(width, dtype=bool), reading.names
    if wanted is None:
        return names, ~selected
    if names is None and len(wanted) == width and all(isinstance(c, str) for c in wanted):
        return tuple(wanted), ~selected
    for column in wanted:
        selected[_index(column, reading, width)] = True
    return names, selected


def _index(column: Any, reading: ReadResult, width: int) -> int:
    if isinstance(column, str):
        shown = repr(printable(column))
        if reading.names is None:
            raise ArgumentError(
                f"columns has the name {shown}, and the data have none: give numbers from 0 to {width - 1}"
            )
        if column in reading.left_alone:
            raise ArgumentError(f"columns has {shown}, which holds no numbers: {reading.left_alone[column]}")
        if column not in reading.names:
            raise ArgumentError(
                f"columns has {shown}, which is not in the data: there is {listed(reading.names, most=12)}"
            )
        return reading.names.index(column)
    if isinstance(column, bool) or not isinstance(column, int | np.integer) or not 0 <= column < width:
        raise ArgumentError(f"columns has {column!r}: expected a name, or a number from 0 to {width - 1}")
    return int(column)


def _check_readable(m: ColumnMoments, selected: NDArray[np.bool_], label: Callable[[int], str]) -> None:
    if not selected.any():
        raise DataError(
            "no column is left to normalise: integers that are codes are left alone; name them with columns="
        )
    empty = np.flatnonzero((m.count.ravel() == 0) & selected)
    if empty.size:
        raise DataError(
            f"column {listed(label(int(i)) for i in empty)} has no finite entry in {m.rows} rows: leave it out "
            "with columns="
        )


FEW = 16
"""Integers that span fewer values than this are taken for classes, levels or flags."""


def codes_among(
    m: ColumnMoments, names: Sequence[str] | None, integers: Sequence[bool | None]
) -> dict[int, str]:
    """Columns of codes by number, and why; arrays without names have none.

    A column is one of codes when it is stored as integers and spans fewer than 16 values, or when it is a
    row number: a permutation of consecutive integers has as many entries as it spans values, and the
    variance (n² - 1)/12.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.arange(100)
    >>> from wellposed import Moments
    >>> m = Moments.of(np.stack([rows, rows % 3, rows**2], axis=1))
    >>> codes_among(m, ["id", "class", "area"], [True, True, True])
    {0: 'a row number, 0 to 99', 1: 'integers from 0 to 2'}
    """
    if names is None:
        return {}
    reasons = {i: _why(m, i) for i, stored in enumerate(integers) if stored and m.count.flat[i]}
    return {i: why for i, why in reasons.items() if why}


def _why(m: ColumnMoments, i: int) -> str:
    low, high, n = int(m.minimum.flat[i]), int(m.maximum.flat[i]), int(m.count.flat[i])
    if high - low < FEW:
        return f"integers from {low} to {high}" if high > low else f"one integer, {low}"
    # Both sides are the exact value, rounded once.
    if n == high - low + 1 and m.variance.flat[i] == (n * n - 1) / 12:
        return f"a row number, {low} to {high}"
    return ""
