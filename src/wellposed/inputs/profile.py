"""What the inputs of a training problem look like: one measurement, judged by the rules about data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..moments.column_moments import ColumnMoments
from ..moments.exact.sums import Floats
from ..moments.reduction import kept_axes, reduce_batch
from .conditioning import cost_contours, measure_conditioning
from .duplicates import count_duplicates
from .leakage import fingerprint_leak
from .result import ColumnSummary, InputProfile, NonFiniteEntries
from .sentinels import find_sentinels
from .split_shift import measure_shift, rows_to_compare

_CHUNK = 1 << 17


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def profile_inputs(
    train: NDArray[Any],
    validation: NDArray[Any] | None = None,
    *,
    feature_names: Sequence[str] | None = None,
    targets: tuple[NDArray[Any], NDArray[Any]] | None = None,
    part: str = "",
) -> InputProfile:
    """Measure the inputs of a problem.

    Parameters
    ----------
    train, validation
        Rows first: ``(N, F)`` columns, ``(N, T, F)`` sequences, ``(N, C, H, W)`` images, ``(N,)`` one column.
    feature_names
        One a column, for the words of findings.
    targets
        Those of both splits, rows first: a record that was copied has its target too, and splits are compared class by class.
    part
        Which of several inputs it is, as findings tell it after ``inputs``. Copies are not looked for in one of several: a
        record is all of them together.

    Raises
    ------
    DataError
        When there are no rows, or the splits or the names do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 1000.0], [2.0, 3000.0], [3.0, 2000.0]])
    >>> profile = profile_inputs(x, feature_names=["a", "b"])
    >>> round(profile.spread), profile.place(1)
    (1000, 'inputs.b')
    """
    train, validation = (
        _checked(train, "train"),
        None if validation is None else _checked(validation, "validation"),
    )
    if validation is not None and validation.shape[1:] != train.shape[1:]:
        raise DataError(
            f"train has samples of shape {train.shape[1:]}, validation of {validation.shape[1:]}: expected "
            "the same"
        )
    axis = kept_axes(train.ndim, None)
    moments = reduce_batch(train, axis=axis or None)
    held_out = None if validation is None else reduce_batch(validation, axis=axis or None)
    names = _names(feature_names, moments.count.size)
    columns, held_columns = by_column(train), None if validation is None else by_column(validation)
    active = _active_mean_square(columns)
    varying = ~moments.constant & (moments.count > 0)
    splits = (("train", columns, train), ("validation", held_columns, validation))
    return InputProfile(
        train=_summary(moments),
        validation=None if held_out is None else _summary(held_out),
        names=names,
        kind="channel" if train.ndim >= 4 else "feature",
        std=moments.std,
        mean_square=_mean_square(moments),
        active_mean_square=active,
        spread=_ratio(moments.std[varying], median=False),
        dominance=_ratio(active[varying], median=True),
        rms=_rms(moments),
        typical_rms=float(np.sqrt(lower_median(active[varying]))) if varying.any() else _rms(moments),
        largest=_largest(moments),
        non_finite=tuple(
            non_finite
            for name, entries, x in splits
            if entries is not None and x is not None
            if (non_finite := _non_finite(entries, x.shape, name)) is not None
        ),
        conditioning=measure_conditioning(train, varying),
        contours=cost_contours(columns, moments),
        leak=None
        if held_out is None or validation is None or held_columns is None
        else fingerprint_leak(
            columns, held_columns, moments, held_out, samples=(len(train), len(validation))
        ),
        duplicates=None if validation is None or part else count_duplicates(train, validation, targets),
        shift=None
        if held_out is None or validation is None
        else measure_shift(*rows_to_compare(train, validation, targets), moments, held_out),
        sentinels=()
        if train.ndim >= 4
        else find_sentinels(columns, np.ravel(moments.minimum), np.ravel(moments.maximum)),
        part=part,
    )


def _summary(m: ColumnMoments) -> ColumnSummary:
    return ColumnSummary(
        rows=m.rows, count=m.count, missing=m.missing, infinite=m.infinite, minimum=m.minimum, maximum=m.maximum,
        mean=m.mean, std=m.std, constant=m.constant,
    )  # fmt: skip


def by_column(x: NDArray[Any]) -> NDArray[Any]:
    """Samples as ``(entries, columns)``: pixels of all images under their channel."""
    kept = kept_axes(x.ndim, None)
    if not kept:
        return x.reshape(-1, 1)
    return np.moveaxis(x, kept[0], -1).reshape(-1, x.shape[kept[0]])


def lower_median(values: Floats) -> float:
    """The middle value, or the smaller of the two: of two columns, the smaller."""
    return float(np.sort(values)[(len(values) - 1) // 2])


def _checked(x: NDArray[Any], what: str) -> NDArray[Any]:
    x = np.asarray(x)
    if x.dtype.kind not in "fiub" or x.ndim == 0:
        raise DataError(
            f"{what} is an array of {x.dtype} with {x.ndim} dimensions: expected numbers, rows first"
        )
    if x.size == 0:
        raise DataError(f"{what} has shape {x.shape}: expected at least one row and one column")
    return x


def _names(names: Sequence[str] | None, columns: int) -> tuple[str, ...] | None:
    if names is None:
        return None
    if len(names) != columns:
        raise DataError(f"feature_names has {len(names)} names, the inputs have {columns} columns")
    return tuple(map(str, names))


def _mean_square(m: ColumnMoments) -> Floats:
    with np.errstate(over="ignore"):
        return m.variance + m.mean**2


def _active_mean_square(columns: NDArray[Any]) -> Floats:
    squares, active = np.zeros(columns.shape[1]), np.zeros(columns.shape[1])
    step = max(1, _CHUNK // columns.shape[1])
    with np.errstate(over="ignore", under="ignore"):
        for start in range(0, len(columns), step):
            part = columns[start : start + step].astype(np.float64)
            part[~np.isfinite(part)] = 0.0
            active += (part != 0).sum(axis=0)
            squares += (part * part).sum(axis=0)
    return squares / np.maximum(active, 1)


def _ratio(values: Floats, *, median: bool) -> float:
    values = values[values > 0]
    if len(values) < 2:
        return 1.0
    with np.errstate(over="ignore"):
        return float(values.max() / (lower_median(values) if median else values.min()))


def _rms(m: ColumnMoments) -> float:
    filled = m.count > 0
    if not filled.any():
        return float("nan")
    return float(np.sqrt(np.average(_mean_square(m)[filled], weights=m.count[filled])))


def _largest(m: ColumnMoments) -> float:
    return float(np.fmax.reduce(np.fmax(np.abs(m.minimum), np.abs(m.maximum))))


def _non_finite(columns: NDArray[Any], shape: tuple[int, ...], split: str) -> NonFiniteEntries | None:
    bad = ~np.isfinite(columns)
    if not bad.any():
        return None
    entry, column = np.unravel_index(int(bad.argmax()), bad.shape)
    missing = int(np.isnan(columns).sum())
    return NonFiniteEntries(
        split=split,
        missing=missing,
        infinite=int(bad.sum()) - missing,
        columns=int(bad.any(axis=0).sum()),
        first_row=int(entry) // (len(columns) // shape[0]),
        first_column=int(column),
    )
