"""One batch to its moments: cache-sized chunks, two passes about the chunk's own mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, DataError
from .doubledouble import Floats, add, two_sum
from .moments import Moments

_CHUNK = 1 << 17  # entries: a chunk and its temporaries stay in a core's cache
_BLOCK = 128  # rows added in sequence; blocks are added afterwards, so rounding grows with rows / 128 + 128
_EXACT = 1 << 53  # integers up to here are exact in float64
_ORDINARY = 400  # columns within 2**±400 are squared as they are


def kept_axes(ndim: int, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """The axes that keep their own statistics: columns, channels of images, the last axis of sequences.

    Examples
    --------
    >>> kept_axes(2, None), kept_axes(4, None), kept_axes(3, None), kept_axes(3, -2)
    ((1,), (1,), (2,), (1,))
    """
    if ndim == 0:
        raise DataError("found a single number: expected an array with samples along its first axis")
    if axis is None:
        return () if ndim == 1 else (2,) if ndim == 3 else (1,)
    wanted = axis if isinstance(axis, tuple | list) else (axis,)
    kept = []
    for one in wanted:
        if isinstance(one, bool) or not isinstance(one, int | np.integer):
            raise ArgumentError(f"axis={axis!r}: expected an integer or a tuple of integers")
        if not -ndim <= one < ndim:
            raise ArgumentError(f"axis={axis!r} is out of range for data of {ndim} dimensions")
        kept.append(int(one) % ndim)
    if 0 in kept:
        raise ArgumentError(
            f"axis={axis!r} keeps axis 0, which holds the samples: name the axes of the features"
        )
    if len(set(kept)) < len(kept):
        raise ArgumentError(f"axis={axis!r} names an axis twice")
    return tuple(sorted(kept))


def reduce_batch(batch: NDArray[Any], *, axis: int | tuple[int, ...] | None = None) -> Moments:
    """Moments of one array whose first axis holds the samples."""
    kept = kept_axes(batch.ndim, axis)
    shape = tuple(batch.shape[a] for a in kept) or (1,)
    if 0 in shape:
        raise DataError(f"the data has shape {batch.shape}: expected at least one column")
    total = Moments.empty(shape)
    for chunk in _chunks(batch):
        total = total | _reduce(_as_columns(chunk, kept), rows=len(chunk), shape=shape)
    return total


def precision_of(dtype: np.dtype[Any]) -> float:
    """Relative spacing of a dtype's values; 0 where they are exact."""
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else 0.0


def _chunks(batch: NDArray[Any]) -> Iterator[NDArray[Any]]:
    step = max(1, _CHUNK // max(1, batch[:1].size))
    for start in range(0, len(batch), step):
        yield batch[start : start + step]


def _as_columns(chunk: NDArray[Any], kept: tuple[int, ...]) -> NDArray[Any]:
    """The chunk as ``(entries, columns)``."""
    if not kept:
        return chunk.reshape(-1, 1)
    width = int(np.prod([chunk.shape[a] for a in kept]))
    return np.moveaxis(chunk, kept, range(-len(kept), 0)).reshape(-1, width)


def _reduce(x: NDArray[Any], *, rows: int, shape: tuple[int, ...]) -> Moments:
    offset, values = _exact_float64(x)
    finite = np.isfinite(values)
    whole = bool(finite.all())
    count = np.full(x.shape[1], len(x)) if whole else finite.sum(axis=0)
    missing = np.zeros_like(count) if whole else np.isnan(values).sum(axis=0)
    safe = values if whole else np.where(finite, values, np.nan)
    minimum, maximum = np.fmin.reduce(safe, axis=0), np.fmax.reduce(safe, axis=0)
    exponent = _exponent(minimum, maximum)
    mean, squares = _two_passes(safe, np.ldexp(minimum, -exponent), exponent, count, whole=whole)
    if offset is not None:
        mean = add(mean, offset)
        minimum, maximum = minimum + offset[0], maximum + offset[0]
    return Moments(
        count=count.astype(np.int64).reshape(shape),
        missing=missing.astype(np.int64).reshape(shape),
        infinite=(len(x) - count - missing).astype(np.int64).reshape(shape),
        minimum=minimum.reshape(shape),
        maximum=maximum.reshape(shape),
        rows=rows,
        precision=precision_of(x.dtype),
        scaled_mean=(mean[0].reshape(shape), mean[1].reshape(shape)),
        scaled_squares=(squares.reshape(shape), np.zeros(shape)),
        exponent=exponent.reshape(shape),
    )


def _exact_float64(x: NDArray[Any]) -> tuple[tuple[Floats, Floats] | None, Floats]:
    """The chunk as float64, and what was subtracted first where large integers would not fit."""
    if x.dtype.kind not in "iu" or x.dtype.itemsize < 8 or len(x) == 0:
        return None, x.astype(np.float64, copy=False)
    low, high = x.min(axis=0), x.max(axis=0)
    if int(high.max()) <= _EXACT and int(low.min()) >= -_EXACT:
        return None, x.astype(np.float64)
    # Unsigned subtraction wraps, so the distance from the smallest entry is exact for every 64-bit integer.
    distance = (x.astype(np.uint64) - low.astype(np.uint64)).astype(np.float64)
    head = low.astype(np.float64)
    tail = np.array([float(int(v) - int(h)) for v, h in zip(low.tolist(), head.tolist(), strict=True)])
    return two_sum(head, tail), distance


def _exponent(minimum: Floats, maximum: Floats) -> NDArray[np.int64]:
    largest = np.fmax(np.abs(minimum), np.abs(maximum))
    power = np.frexp(np.where(np.isfinite(largest), largest, 0.0))[1].astype(np.int64)
    return np.where(np.abs(power) > _ORDINARY, power, 0)


def _two_passes(
    x: Floats, pivot: Floats, exponent: NDArray[np.int64], count: NDArray[Any], *, whole: bool
) -> tuple[tuple[Floats, Floats], Floats]:
    """Mean as a double-double and the sum of squared deviations, both of ``x / 2**exponent``."""
    with np.errstate(under="ignore"):
        if exponent.any():
            x = np.ldexp(x, -exponent)
        pivot = np.where(count > 0, pivot, 0.0)
        n = np.maximum(count, 1).astype(np.float64)
        mean = pivot + _column_sums(_deviations(x, pivot, whole=whole)) / n
        deviations = _deviations(x, mean, whole=whole)
        rest = _column_sums(deviations)
        np.multiply(deviations, deviations, out=deviations)
        squares = np.maximum(_column_sums(deviations) - rest * (rest / n), 0.0)
        return two_sum(mean, rest / n), squares


def _deviations(x: Floats, center: Floats, *, whole: bool) -> Floats:
    deviations = x - center
    if not whole:
        deviations[np.isnan(deviations)] = 0.0
    return deviations


def _column_sums(x: Floats) -> Floats:
    return np.add.reduceat(x, np.arange(0, len(x), _BLOCK), axis=0).sum(axis=0)
