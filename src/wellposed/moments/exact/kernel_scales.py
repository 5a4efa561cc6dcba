"""What is known of a lane, and its running sums: from block sums to wide integers, without rounding."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numba.np.numpy_support import carray
from numpy.typing import NDArray

from .kernel_blocks import OPTIONS
from .kernel_lanes import FLOATS, PARTS, WHOLES, W
from .kernel_limbs import deposit
from .sums import SQUARE_BIAS, SQUARE_LIMBS, VALUE_BIAS, VALUE_LIMBS

_compiled = njit(**OPTIONS)

SHORT = 46  # bits below a lane's largest that a float32 block keeps: 46 + log2(128) = 53
LONG = 70  # the same for float64: digits of 23, 24 and 23 bits
LOWEST, HIGHEST = -400, 480  # exponents of lanes whose squares, and their digits, are normal numbers

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


@_compiled
def lanes_at(digits, count, columns, floats, wholes, values, squares):
    """The lanes whose numbers stand at these places in memory, in the order of `kernel_lanes.OpenLanes`."""
    f, w = carray(floats, (FLOATS, count)), carray(wholes, (WHOLES, count))
    return Lanes(
        digits,
        w[0],
        f[0],
        f[1],
        f[2],
        f[3:6],
        f[6 : 6 + PARTS],
        f[6 + PARTS : 6 + 2 * PARTS],
        f[6 + 2 * PARTS : 6 + 3 * PARTS],
        f[6 + 3 * PARTS],
        f[7 + 3 * PARTS],
        w[1],
        w[2],
        carray(values, (columns, VALUE_LIMBS)),
        carray(squares, (columns, SQUARE_LIMBS)),
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
