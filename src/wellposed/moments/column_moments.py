"""The exact moments of columns as a value that merges: what `Moments` is, apart from how data are read into it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..arguments import number, refused, whole
from ..errors import ArgumentError, DataError
from ..plain_value import PlainValue
from .exact.numpy_sums import Products
from .exact.rounding import nearest, nearest_root
from .exact.sums import SQUARE_BIAS, VALUE_BIAS, Digits, ExactSums, Floats
from .quantiles import Sketches

_MOST_COLUMNS = 1 << 26  # of empty moments, which hold some 400 bytes a column

Counts = Digits


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ColumnMoments(PlainValue):
    """What `Moments` holds and computes, without the ways to read data.

    The files that `moments.py` imports make it with `made`, which gives an instance of `Moments`.
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
    values: ExactSums
    """Σx of each column."""
    squares: ExactSums
    """Σx² of each column."""
    products: Products | None = None
    """Σxy of each pair of columns, where a covariance was asked for."""
    sketches: Sketches | None = None
    """Where quantiles were asked for."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)  # arrays come back writable
        self.__post_init__()

    @classmethod
    def empty(cls, columns: int | tuple[int, ...] = 0) -> Self:
        """Moments of no rows: ``m | Moments.empty()`` is ``m``; give `columns` for one with a shape.

        Examples
        --------
        >>> from wellposed import Moments
        >>> Moments.empty(2).count.tolist()
        [0, 0]
        """
        several = columns if isinstance(columns, tuple | list) else (columns,)
        shape = tuple(whole(c, "columns", least=0) for c in several)
        size = math.prod(shape)
        if size > _MOST_COLUMNS:
            raise refused("columns", columns, f"at most {_MOST_COLUMNS:,} of them in all")
        zeros = np.zeros(shape, dtype=np.int64)
        return cls.made(
            count=zeros,
            missing=zeros.copy(),
            infinite=zeros.copy(),
            minimum=np.full(shape, np.nan),
            maximum=np.full(shape, np.nan),
            rows=0,
            precision=0.0,
            values=ExactSums.zero(size, bias=VALUE_BIAS),
            squares=ExactSums.zero(size, bias=SQUARE_BIAS),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the kept axes: ``(columns,)`` for tables."""
        return self.count.shape

    @cached_property
    def mean(self) -> Floats:
        """Mean of the finite entries; NaN where there are none."""
        return self._per_column(self.values.integers(), lambda total, n: nearest(total, n << VALUE_BIAS))

    @cached_property
    def variance(self) -> Floats:
        """Population variance (divided by `count`); infinite where it exceeds float64, as `std` may not."""
        return self._per_column(self._spreads, lambda spread, n: nearest(spread, n * n << SQUARE_BIAS))

    @cached_property
    def sample_variance(self) -> Floats:
        """Variance divided by ``count - 1``; NaN where there are fewer than two entries."""
        return self._per_column(
            self._spreads, lambda spread, n: nearest(spread, n * (n - 1) << SQUARE_BIAS), fewest=2
        )

    @cached_property
    def std(self) -> Floats:
        """Population standard deviation."""
        return self._per_column(self._spreads, lambda spread, n: nearest_root(spread, n * n << SQUARE_BIAS))

    @cached_property
    def constant(self) -> NDArray[np.bool_]:
        """Columns without spread beyond the rounding of what was stored: two spacings of the largest entry.

        A column without finite entries is not constant.
        """
        largest = np.fmax(np.abs(self.minimum), np.abs(self.maximum))
        with np.errstate(invalid="ignore", over="ignore"):
            within = self.maximum - self.minimum <= 2 * self.precision * largest
            # Integers above 2**53 may differ although their float64 extremes agree.
            within &= self.std <= 2 * self.precision * largest
        return _readonly((self.count > 0) & (within | (self.std == 0)))

    @property
    def complete(self) -> int:
        """Rows without NaN or infinity in any column; 0 where no covariance was asked for."""
        return self.products.rows if self.products is not None else 0

    @cached_property
    def covariance(self) -> Floats:
        """Population covariance of the columns over complete rows, ``(columns, columns)``.

        Raises
        ------
        ArgumentError
            When ``covariance=True`` was not asked for.
        """
        if self.products is None:
            raise ArgumentError("these moments hold no covariance: ask for it with covariance=True")
        return _readonly(self.products.covariance())

    def quantile(self, q: float) -> Floats:
        """The entry of each column below which a share `q` of its finite entries lies; see `rank_error`.

        Raises
        ------
        ArgumentError
            When ``quantiles=True`` was not asked for, or `q` lies outside of 0 to 1.
        """
        q = number(q, "q", least=0, most=1, expected="a share from 0 to 1")
        return _readonly(self._sketches().quantile(q).reshape(self.shape))

    @property
    def rank_error(self) -> float:
        """Bound on the error of `quantile` in rank, at 99 % confidence; 0 where it is exact."""
        return self._sketches().rank_error

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that the same entries give in any order, chunking, engine or exact dtype."""
        hasher = hashlib.sha256(f"{self.rows} {self.shape}".encode())
        for array in (self.count, self.missing, self.infinite, self.minimum, self.maximum):
            hasher.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
        for sums in (self.values, self.squares):
            hasher.update(f"{sums.start} {sums.digits.shape}".encode())
            hasher.update(np.ascontiguousarray(sums.digits).astype("<i8").tobytes())
        return hasher.hexdigest()[:32]

    def __or__(self, other: Self) -> Self:
        if not isinstance(other, ColumnMoments):
            return NotImplemented
        if self.shape == (0,):
            return other
        if other.shape == (0,):
            return self
        if self.shape != other.shape:
            raise DataError(
                f"cannot merge moments of {named(self.shape)} with moments of {named(other.shape)}: "
                "every batch must have the same columns"
            )
        return self.made(
            count=self.count + other.count,
            missing=self.missing + other.missing,
            infinite=self.infinite + other.infinite,
            minimum=np.fmin(self.minimum, other.minimum),
            maximum=np.fmax(self.maximum, other.maximum),
            rows=self.rows + other.rows,
            precision=max(self.precision, other.precision),
            values=self.values + other.values,
            squares=self.squares + other.squares,
            products=_both(self, other, "products", "covariance"),
            sketches=_both(self, other, "sketches", "quantiles"),
        )

    def __repr__(self) -> str:
        head = ", ".join(
            f"{m:.6g}±{s:.3g}" for m, s in zip(self.mean.flat[:4], self.std.flat[:4], strict=True)
        )
        more = ", ..." if self.count.size > 4 else ""
        return f"Moments({self.rows} rows, {named(self.shape)}: {head}{more})"

    @cached_property
    def _counts(self) -> list[int]:
        return self.count.ravel().tolist()

    @cached_property
    def _spreads(self) -> list[int]:
        """``n Σx² - (Σx)²`` of each column, times 2**SQUARE_BIAS: n² times the variance."""
        pairs = zip(self.values.integers(), self.squares.integers(), self._counts, strict=True)
        return [n * square - total * total for total, square, n in pairs]

    def _per_column(
        self, sums: list[int], rounded: Callable[[int, int], float], *, fewest: int = 1
    ) -> Floats:
        """A statistic of the sum and the count of each column; NaN where there are fewer entries."""
        pairs = zip(sums, self._counts, strict=True)
        numbers = [rounded(total, n) if n >= fewest else np.nan for total, n in pairs]
        return _readonly(np.array(numbers, dtype=np.float64).reshape(self.shape))

    def _sketches(self) -> Sketches:
        if self.sketches is None:
            raise ArgumentError("these moments hold no quantiles: ask for them with quantiles=True")
        return self.sketches


def _both(a: ColumnMoments, b: ColumnMoments, part: str, option: str) -> Any:
    """The merged part; moments of no rows have any part."""
    mine, theirs = getattr(a, part), getattr(b, part)
    if mine is not None and theirs is not None:
        return mine | theirs
    if a.rows and b.rows and (mine is None) != (theirs is None):
        raise DataError(f"cannot merge moments with and without {part}: ask for {option}=True in both")
    return mine if theirs is None else theirs


def _readonly(array: NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(array)
    array.setflags(write=False)
    return array


def named(shape: tuple[int, ...]) -> str:
    """``"3 columns"``, or the shape."""
    if len(shape) == 1:
        return f"{shape[0]} column{'' if shape[0] == 1 else 's'}"
    return f"entries of shape {shape}"


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadResult:
    """What one reading of the data gave, here or on an engine."""

    moments: ColumnMoments
    ndim: int
    """Dimensions of the data, the sample axis included: 2 for a table."""
    names: tuple[str, ...] | None = None
    """Columns of numbers, in order."""
    integers: tuple[bool | None, ...] = ()
    """Which of them are stored as integers wherever they hold anything; None, or empty, where that is not known."""
    left_alone: Mapping[str, str] = field(default_factory=dict)
    """Columns that hold no numbers, and why."""
    remarks: tuple[str, ...] = ()
    """What the reading had to decide."""
    label: str | None = None
    """Where the data come from, for the record."""
    mixing: ColumnMoments | None = None
    """Moments with the covariance of the columns that were named alone, where others were read beside them."""
