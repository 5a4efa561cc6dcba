"""What is known of a lane, and its running sums: from block sums to wide integers, without rounding.

A lane is a column, or one of several interleaved parts of a narrow column.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .blocks import OPTIONS, W
from .limbs import deposit
from .sums import SQUARE_BIAS, VALUE_BIAS

SHORT = 46  # bits below a lane's largest that a float32 block keeps: 46 + log2(128) = 53
LONG = 70  # the same for float64: digits of 23, 24 and 23 bits
_UNSET = -100_000
LOWEST, HIGHEST = -400, 480  # exponents of lanes whose squares, and their digits, are normal numbers

_compiled = njit(**OPTIONS)

PARTS = 11
"""Sums that a lane keeps: total, high, low of `blocks.sum_short`; then t, u, aa, ab, bb, ac, bc, cc of
`blocks.sum_long`."""
_UNIT = np.array([46, 46, 92, 23, 70, 46, 70, 94, 93, 117, 140])
"""Bits from the largest value, or square, of a lane down to the unit of each part. The largest entry of each is
at most 2**46 units, so that 128 of them add up to at most 2**53, which float64 holds."""
_SQUARED = np.array([False, True, True, False, False, True, True, True, True, True, True])
_TIMES = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 2.0, 2.0, 1.0])


class Lanes(NamedTuple):
    """Arrays of ``(lanes,)``, or ``(parts, lanes)``; and the wide sums that they end in."""

    digits: int
    """Bits of a mantissa: 24 or 53."""
    exponent: NDArray[np.int64]
    """Every entry that is split is below 2**exponent."""
    top: NDArray[np.float64]
    bottom: NDArray[np.float64]
    """Blocks within ``bottom <= |x| < top``, zeros apart, are split."""
    least: NDArray[np.float64]
    """As `bottom`, for single entries."""
    cuts: NDArray[np.float64]
    """Constants that cut: squares of float32; first digit, second digit of float64."""
    grids: NDArray[np.float64]
    """Constants that cut a block's sums in two."""
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    """The running sums of the two parts: exact for 2**27 blocks, which `accumulator` sees to."""
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    missing: NDArray[np.int64]
    infinite: NDArray[np.int64]
    values: NDArray[np.int64]
    squares: NDArray[np.int64]
    """Limbs, ``(columns, limbs)``: lane ``l`` belongs to column ``l % columns``."""


def lanes_of(count: int, itemsize: int, values: NDArray[np.int64], squares: NDArray[np.int64]) -> Lanes:
    """Nothing read yet."""
    zeros, none = np.zeros(count), np.zeros(count, dtype=np.int64)
    return Lanes(
        digits=24 if itemsize == 4 else 53,
        exponent=np.full(count, _UNSET),
        top=zeros.copy(),
        bottom=zeros.copy(),
        least=zeros.copy(),
        cuts=np.zeros((3, count)),
        grids=np.zeros((PARTS, count)),
        high=np.zeros((PARTS, count)),
        low=np.zeros((PARTS, count)),
        minimum=np.full(count, np.inf),
        maximum=np.full(count, -np.inf),
        missing=none.copy(),
        infinite=none,
        values=values,
        squares=squares,
    )


@_compiled
def set_scale(lane, exponent, lanes):
    """Split the entries of a lane below ``2**exponent`` from now on; `flush_lane` goes before."""
    digits = lanes.digits
    lanes.exponent[lane] = exponent
    if not LOWEST < exponent < HIGHEST:
        lanes.top[lane] = 0.0  # every entry by itself
        return
    lanes.top[lane] = math.ldexp(1.0, exponent)
    lanes.bottom[lane] = math.ldexp(1.0, exponent - (SHORT if digits == 24 else LONG) + digits - 1)
    lanes.least[lane] = math.ldexp(1.0, exponent - LONG + digits - 1)
    lanes.cuts[0, lane] = math.ldexp(1.5, 52 + 2 * exponent - 46)
    lanes.cuts[1, lane] = math.ldexp(1.5, 52 + exponent - 23)
    lanes.cuts[2, lane] = math.ldexp(1.5, 52 + exponent - 47)
    for part in range(PARTS):
        size = 2 * exponent if _SQUARED[part] else exponent
        lanes.grids[part, lane] = math.ldexp(1.5, 52 + 27 + size - _UNIT[part])


@_compiled
def keep(start, stop, first, parts, sums, lanes):
    """Add a block's sums, cut in two, to the running sums."""
    n = stop - start
    for part in range(parts):
        grid = lanes.grids[first + part, start:stop]
        high, low = lanes.high[first + part, start:stop], lanes.low[first + part, start:stop]
        block = sums[part * W : part * W + n]
        for lane in range(n):
            upper = (block[lane] + grid[lane]) - grid[lane]
            high[lane] += upper
            low[lane] += block[lane] - upper


@_compiled
def flush_lane(lane, lanes):
    """Move a lane's running sums into the wide integers of its column."""
    column = lane % len(lanes.values)
    for part in range(PARTS):
        for total in (lanes.high[part, lane], lanes.low[part, lane]):
            if _SQUARED[part]:
                deposit(_TIMES[part] * total, lanes.squares, column, SQUARE_BIAS)
            else:
                deposit(total, lanes.values, column, VALUE_BIAS)
        lanes.high[part, lane] = lanes.low[part, lane] = 0.0
