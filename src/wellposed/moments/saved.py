"""Moments as JSON: exact, for checkpoints and engines, and not trusted when it is read."""

from __future__ import annotations

import json
import math

import msgspec
import numpy as np

from ..errors import DataError
from .column_moments import ColumnMoments
from .exact.numpy_sums import Products
from .exact.sums import SQUARE_BIAS, SQUARE_LIMBS, VALUE_BIAS, VALUE_LIMBS, Digits, ExactSums, Floats
from .quantiles import Sketches

FORMAT = "wellposed-moments"
SCHEMA = 1


class _SavedSums(msgspec.Struct, forbid_unknown_fields=True):
    start: int
    digits: list[list[int]]


class _SavedProducts(msgspec.Struct, forbid_unknown_fields=True):
    rows: int
    values: _SavedSums
    products: _SavedSums


class _SavedMoments(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    schema: int
    shape: list[int]
    rows: int
    precision: float
    count: list[int]
    missing: list[int]
    infinite: list[int]
    minimum: list[float | None]
    maximum: list[float | None]
    values: _SavedSums
    squares: _SavedSums
    products: _SavedProducts | None
    sketches: list[str] | None


def to_json(m: ColumnMoments) -> str:
    """See `Moments.to_json`."""
    p = m.products
    state = _SavedMoments(
        format=FORMAT,
        schema=SCHEMA,
        shape=list(m.shape),
        rows=m.rows,
        precision=m.precision,
        count=m.count.ravel().tolist(),
        missing=m.missing.ravel().tolist(),
        infinite=m.infinite.ravel().tolist(),
        minimum=_finite(m.minimum),
        maximum=_finite(m.maximum),
        values=_plain(m.values),
        squares=_plain(m.squares),
        products=None if p is None else _SavedProducts(p.rows, _plain(p.values), _plain(p.products)),
        sketches=None if m.sketches is None else m.sketches.to_text(),
    )
    return json.dumps(msgspec.to_builtins(state), allow_nan=False)


def from_json(text: str | bytes) -> ColumnMoments:
    """See `Moments.from_json`."""
    try:
        state = msgspec.json.decode(text, type=_SavedMoments)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise DataError(f"saved moments are damaged, or truncated ({error})") from None
    if state.format != FORMAT or state.schema != SCHEMA:
        raise DataError(
            f"found {state.format!r} of schema {state.schema}: expected {FORMAT!r} of schema {SCHEMA}"
        )
    shape = tuple(state.shape)
    if not 1 <= len(shape) <= 32 or min(shape) < 0:
        raise DataError(f"saved moments have shape {shape}: expected the shape of the kept axes")
    size = len(state.count)
    if int(np.prod([int(s) for s in shape], dtype=object)) != size:
        raise DataError(f"saved moments of shape {shape} have {size} columns")
    if not 0 <= state.rows < 1 << 62 or not 0 <= state.precision < 1:
        raise DataError(f"saved moments have {state.rows} rows and precision {state.precision}")
    count, missing, infinite = (
        _counts(getattr(state, name), name, size).reshape(shape) for name in ("count", "missing", "infinite")
    )
    minimum, maximum = (
        _numbers(getattr(state, name), name, size).reshape(shape) for name in ("minimum", "maximum")
    )
    for numbers in (minimum, maximum):
        if not np.array_equal(np.isnan(numbers), count == 0) or np.isinf(numbers).any():
            raise DataError("saved moments have minima and maxima that do not fit their counts")
    if (minimum > maximum).any():
        raise DataError("saved moments have minima above their maxima")
    if state.rows == 0 and (count + missing + infinite).any():
        raise DataError("saved moments have entries, and 0 rows")
    moments = ColumnMoments.made(
        count=count,
        missing=missing,
        infinite=infinite,
        minimum=minimum,
        maximum=maximum,
        rows=state.rows,
        precision=state.precision,
        values=_sums(state.values, size, VALUE_BIAS, VALUE_LIMBS),
        squares=_sums(state.squares, size, SQUARE_BIAS, SQUARE_LIMBS),
        products=_products(state.products, size),
        sketches=None if state.sketches is None else Sketches.from_text(state.sketches),
    )
    _check_possible(moments)
    return moments


def _check_possible(m: ColumnMoments) -> None:
    """Refuse sums, products and sketches that no numbers of these counts, minima and maxima have."""
    minimum, maximum = m.minimum.ravel(), m.maximum.ravel()
    _check_sums(m.count.ravel().tolist(), m.values, m.squares, minimum, maximum)
    if m.products is not None:
        _check_products(m.products, m.count.ravel(), minimum, maximum)
    if m.sketches is not None and not m.sketches.are_of(m.count.ravel(), minimum, maximum):
        raise DataError("saved quantile sketches do not fit the counts, minima and maxima beside them")


def _check_products(p: Products, count: Digits, minimum: Floats, maximum: Floats) -> None:
    columns = len(count)
    if p.rows > count.min(initial=p.rows):
        raise DataError(f"saved moments have {p.rows} complete rows, more than some column has entries")
    digits = p.products.digits.reshape(columns, columns, p.products.digits.shape[1])
    if not np.array_equal(digits, digits.transpose(1, 0, 2)) or (p.rows == 0 and digits.any()):
        raise DataError("saved moments have products that no rows have")
    squares = ExactSums(
        digits=digits[np.arange(columns), np.arange(columns)], start=p.products.start, bias=p.products.bias
    )
    _check_sums([p.rows] * columns, p.values, squares, minimum, maximum)


def _check_sums(
    counts: list[int], values: ExactSums, squares: ExactSums, minimum: Floats, maximum: Floats
) -> None:
    """In whole numbers, exactly: ``(Σx)² <= n Σx²``, and ``Σ(x - min)(max - x) >= 0``.

    With min <= max, they also hold Σx between n times the one and n times the other.
    """
    sums = zip(counts, values.integers(), squares.integers(), minimum.tolist(), maximum.tolist(), strict=True)
    for column, (n, total, square, least, most) in enumerate(sums):
        if n == 0:
            possible = total == square == 0
        else:
            low, high = _whole(_outward(least, -math.inf)), _whole(_outward(most, math.inf))
            possible = total**2 <= n * square and square <= (low + high) * total - n * low * high
        if not possible:
            raise DataError(
                f"saved moments have sums in column {column} that no {n} numbers from {least} to {most} have"
            )


def _outward(extreme: float, towards: float) -> float:
    """A bound of what was read: integers of 64 bits were rounded when they became an extreme."""
    return math.nextafter(extreme, towards) if 1 << 53 <= abs(extreme) <= 1 << 64 else extreme


def _whole(number: float) -> int:
    """``number * 2**VALUE_BIAS``, which is whole."""
    numerator, denominator = number.as_integer_ratio()
    return (numerator << VALUE_BIAS) // denominator


def _finite(numbers: Floats) -> list[float | None]:
    return [None if v != v else v for v in numbers.ravel().tolist()]


def _plain(sums: ExactSums) -> _SavedSums:
    return _SavedSums(start=sums.start, digits=sums.digits.tolist())


def _sums(held: _SavedSums, columns: int, bias: int, limbs: int) -> ExactSums:
    width = len(held.digits[0]) if held.digits else 1
    if len(held.digits) != columns or any(len(row) != width for row in held.digits) or width == 0:
        raise DataError(f"a saved sum has {len(held.digits)} columns, expected {columns} of one width")
    # Big integers have room above, when there are many rows.
    if held.start < 0 or held.start + width > limbs + 4:
        raise DataError(f"a saved sum begins at limb {held.start} with {width}: expected at most {limbs}")
    try:
        digits = np.array(held.digits, dtype=np.int64).reshape(columns, width)
    except OverflowError:
        raise DataError("a saved sum has digits beyond 64 bits") from None
    lower, top = digits[:, :-1], digits[:, -1]
    if ((lower < 0) | (lower >> 32 > 0)).any() or ((top < -1 << 32) | (top > 1 << 32)).any():
        raise DataError("a saved sum has digits beyond 32 bits")
    # Equal sums have one form only, which the fingerprint relies on.
    if not digits.any():
        return ExactSums.zero(columns, bias=bias)
    return ExactSums.of_limbs(digits, bias=bias).shifted(held.start)


def _products(held: _SavedProducts | None, columns: int) -> Products | None:
    if held is None:
        return None
    return Products(
        rows=int(_counts([held.rows], "products.rows", 1)[0]),
        values=_sums(held.values, columns, VALUE_BIAS, VALUE_LIMBS),
        products=_sums(held.products, columns * columns, SQUARE_BIAS, SQUARE_LIMBS),
    )


def _counts(numbers: list[int], name: str, size: int) -> Digits:
    if len(numbers) != size or any(not 0 <= n < 1 << 62 for n in numbers):
        raise DataError(f"{name} of saved moments: expected {size} whole numbers from 0 to below 2**62")
    return np.array(numbers, dtype=np.int64)


def _numbers(numbers: list[float | None], name: str, size: int) -> Floats:
    if len(numbers) != size:
        raise DataError(f"{name} of saved moments: expected {size} numbers, found {len(numbers)}")
    return np.array([np.nan if n is None else n + 0.0 for n in numbers], dtype=np.float64)
