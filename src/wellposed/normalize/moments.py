"""Count, mean, variance, minimum and maximum of columns, as a value that merges."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, DataError
from .doubledouble import Double, Floats, add, over, subtract, times

Counts = NDArray[np.int64]
_NO_SIZE = -(1 << 20)  # below every exponent of a float64


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Moments:
    """Moments of every column, exact to rounding, that merge: ``Moments.of(a) | Moments.of(b)``.

    Missing (NaN) and infinite entries are counted and left out of everything else. Where a column has no
    finite entry, `mean`, `variance`, `minimum` and `maximum` are NaN. All arrays are read-only and have one
    entry a column.

    Notes
    -----
    Each chunk is reduced in two passes about its own mean, chunks are merged pairwise (T. F. Chan, G. H.
    Golub and R. J. LeVeque, Am. Stat. 37, 1983, eq. 2.1), and mean and sum of squares are carried in
    double-double, scaled by a power of two where the column needs it: no cancellation at mean/std of 1e12, no
    overflow at 1e200.

    Examples
    --------
    >>> import numpy as np
    >>> m = Moments.of(np.array([[1.0, 10.0], [3.0, np.nan]]))
    >>> m.mean.tolist(), m.std.tolist(), m.missing.tolist()
    ([2.0, 10.0], [1.0, 0.0], [0, 1])
    >>> (m | Moments.of(np.array([[5.0, 30.0]]))).mean.tolist()
    [3.0, 20.0]
    """

    count: Counts
    """Finite entries of each column."""
    missing: Counts
    """NaN entries of each column."""
    infinite: Counts
    """Infinite entries of each column."""
    minimum: Floats
    maximum: Floats
    rows: int
    """Samples: the extent of the first axis, however many entries each gives a column."""
    precision: float
    """Relative spacing of the stored values: 2**-23 for float32, 2**-52 for float64, 0 for integers."""
    scaled_mean: Double
    """Mean as a double-double, divided by 2**exponent."""
    scaled_squares: Double
    """Sum of squared deviations as a double-double, divided by 4**exponent."""
    exponent: NDArray[np.int64]
    """Zero for columns of ordinary size."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            for array in value if isinstance(value, tuple) else (value,):
                if isinstance(array, np.ndarray):
                    array.setflags(write=False)

    @staticmethod
    def of(data: Any, *, axis: int | tuple[int, ...] | None = None) -> Moments:
        """Moments of an array, a tensor, a DataLoader or any iterable of batches.

        Parameters
        ----------
        data
            A NumPy array (any real dtype, memmap or view), a torch tensor, a pair ``(inputs, targets)`` of
            which the inputs count, or something that gives batches each time it is iterated: a list, a
            DataLoader. A batch is an array, a pair, or a dict with its inputs under a usual name. 1-d batches
            ``(N,)`` are one column.
        axis
            The axes that are kept, one entry each. By default the columns of ``(N, F)``, the channels of
            ``(N, C, H, W)`` and the last axis of ``(N, T, F)``. Axis 0 holds the samples and cannot be kept.

        Raises
        ------
        DataError
            When there is nothing to read, the batches differ in shape, or it can be iterated only once.
        ArgumentError
            When `axis` does not fit the data.

        Examples
        --------
        >>> import numpy as np
        >>> Moments.of([np.array([1.0, 2.0]), np.array([6.0])]).mean.tolist()
        [3.0]
        """
        from .batches import batches
        from .reduction import reduce_batch

        total = Moments.empty()
        with closing(batches(data)) as read:
            for batch in read:
                total = total | reduce_batch(batch, axis=axis)
        return total

    @staticmethod
    def empty(columns: int | tuple[int, ...] = 0) -> Moments:
        """Moments of no rows: ``m | Moments.empty()`` is ``m``; give `columns` for one with a shape.

        Examples
        --------
        >>> Moments.empty(2).count.tolist()
        [0, 0]
        """
        shape = (columns,) if isinstance(columns, int) else tuple(columns)
        if min(shape, default=0) < 0:
            raise ArgumentError(f"columns={columns!r}: expected a number of columns, zero or more")
        zeros = np.zeros(shape, dtype=np.int64)
        return Moments(
            count=zeros,
            missing=zeros.copy(),
            infinite=zeros.copy(),
            minimum=np.full(shape, np.nan),
            maximum=np.full(shape, np.nan),
            rows=0,
            precision=0.0,
            scaled_mean=(np.zeros(shape), np.zeros(shape)),
            scaled_squares=(np.zeros(shape), np.zeros(shape)),
            exponent=zeros.copy(),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the kept axes: ``(columns,)`` for tables."""
        return self.count.shape

    @property
    def mean(self) -> Floats:
        """Mean of the finite entries; NaN where there are none."""
        return _readonly(np.where(self.count > 0, np.ldexp(self.scaled_mean[0], self.exponent), np.nan))

    @property
    def variance(self) -> Floats:
        """Population variance (divided by `count`); infinite where it exceeds float64, as `std` may not."""
        return _readonly(self._spread(self.count, 2))

    @property
    def sample_variance(self) -> Floats:
        """Variance divided by ``count - 1``; NaN where there are fewer than two entries."""
        return _readonly(self._spread(self.count - 1, 2))

    @property
    def std(self) -> Floats:
        """Population standard deviation."""
        return _readonly(self._spread(self.count, 1))

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Columns without spread beyond the rounding of what was stored: two spacings of the largest entry.

        A column without finite entries is not constant.
        """
        largest = _largest(self)
        with np.errstate(invalid="ignore", over="ignore"):
            within = self.maximum - self.minimum <= 2 * self.precision * largest
            # Integers above 2**53 may differ although their float64 extremes agree.
            within &= self.std <= 2 * self.precision * largest
        return _readonly((self.count > 0) & (within | (self.std == 0)))

    def __or__(self, other: Moments) -> Moments:
        if not isinstance(other, Moments):
            return NotImplemented
        if self.shape == (0,):
            return other
        if other.shape == (0,):
            return self
        if self.shape != other.shape:
            raise DataError(
                f"cannot merge moments of {_named(self.shape)} with moments of {_named(other.shape)}: "
                "every batch must have the same columns"
            )
        return _merge(self, other)

    def __repr__(self) -> str:
        head = ", ".join(
            f"{m:.6g}±{s:.3g}" for m, s in zip(self.mean.flat[:4], self.std.flat[:4], strict=True)
        )
        more = ", ..." if self.count.size > 4 else ""
        return f"Moments({self.rows} rows, {_named(self.shape)}: {head}{more})"

    def _spread(self, divisor: Counts, power: int) -> Floats:
        """Variance (power 2) or standard deviation (power 1) of each column in its own unit."""
        with np.errstate(over="ignore", under="ignore"):
            variance = np.where(divisor > 0, self.scaled_squares[0] / np.maximum(divisor, 1), np.nan)
            return np.ldexp(variance if power == 2 else np.sqrt(variance), power * self.exponent)


def _merge(a: Moments, b: Moments) -> Moments:
    exponent = np.maximum(_size(a), _size(b))
    exponent = np.where(exponent == _NO_SIZE, 0, exponent)
    n_a, n_b = a.count.astype(np.float64), b.count.astype(np.float64)
    n = np.maximum(n_a + n_b, 1.0)
    with np.errstate(under="ignore"):
        (mean_a, squares_a), (mean_b, squares_b) = _rescaled(a, exponent), _rescaled(b, exponent)
        gap = np.where((n_a > 0) & (n_b > 0), subtract(mean_b, mean_a)[0], 0.0)
        between = gap * gap * (n_a * n_b / n)
        pooled = over(add(times(mean_a, n_a), times(mean_b, n_b)), n)
        squares = add(add(squares_a, squares_b), (between, np.zeros_like(between)))
    # Equal means stay as they are to the last bit: a constant column keeps its value, and a variance of 0.
    keep_a, keep_b = (gap == 0) & (n_a > 0), n_a == 0
    mean = tuple(
        np.where(keep_a, x, np.where(keep_b, y, z)) for x, y, z in zip(mean_a, mean_b, pooled, strict=True)
    )
    return Moments(
        count=a.count + b.count,
        missing=a.missing + b.missing,
        infinite=a.infinite + b.infinite,
        minimum=np.fmin(a.minimum, b.minimum),
        maximum=np.fmax(a.maximum, b.maximum),
        rows=a.rows + b.rows,
        precision=max(a.precision, b.precision),
        scaled_mean=(mean[0], mean[1]),
        scaled_squares=squares,
        exponent=exponent,
    )


def _size(m: Moments) -> NDArray[np.int64]:
    """The exponent, which means nothing where there is no entry, or none but zeros."""
    return np.where(_largest(m) > 0, m.exponent, _NO_SIZE)


def _largest(m: Moments) -> Floats:
    return np.fmax(np.abs(m.minimum), np.abs(m.maximum))


def _rescaled(m: Moments, exponent: NDArray[np.int64]) -> tuple[Double, Double]:
    shift = m.exponent - exponent
    (mean, mean_low), (squares, squares_low) = m.scaled_mean, m.scaled_squares
    return (
        (np.ldexp(mean, shift), np.ldexp(mean_low, shift)),
        (np.ldexp(squares, 2 * shift), np.ldexp(squares_low, 2 * shift)),
    )


def _readonly(array: NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(array)
    array.setflags(write=False)
    return array


def _named(shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return f"{shape[0]} column{'' if shape[0] == 1 else 's'}"
    return f"entries of shape {shape}"
