"""The hot loop: exact Σx and Σx² of columns, compiled by numba, without the GIL.

A block is up to 128 rows of one *lane*: a column, or one of several interleaved parts of a narrow column. Its
entries are split at fixed powers of two below the lane's largest, into digits so short that float64 adds 128
of them, or of their products, without rounding. Nothing is ever rounded, so no order of adding can matter.
Splitting by adding a large constant and taking it away again follows T. J. Dekker (Numer. Math. 18, 1971) and
K. Ozaki, T. Ogita, S. Oishi and S. M. Rump (Numer. Algorithms 59, 2012). Block sums go, in two exact parts,
into running sums, and these into the wide integers of `sums` when a lane's scale changes and at the end.

An entry that does not fit (not finite, 2**18 times smaller than its lane's largest, near the ends of the
exponent range) shows itself before its block is kept; its lane is then done entry by entry.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .blocks import (
    OPTIONS,
    W,
    add_long,
    clean,
    count_spoilt,
    fetch,
    keep_range,
    larger,
    outside,
    scan_block,
    smaller,
    sum_block,
    sum_long,
)
from .limbs import deposit, deposit_square
from .sums import SQUARE_BIAS, VALUE_BIAS

TILE = 256
BLOCK = 128
_SHORT = 46  # bits below a lane's largest that a float32 block keeps: 46 + log2(128) = 53
_LONG = 70  # the same for float64: digits of 23, 24 and 23 bits
_UNSET = -100_000
_LOWEST, _HIGHEST = -400, 480  # exponents of lanes whose squares, and their digits, are normal numbers
_MANY = 8  # from one lane in so many that hold NaN or infinity, the whole block is cleaned
_FAR = 262144  # bytes of wide rows that are brought near at a time
_NEAR = 2048  # bytes: shorter rows are fetched ahead well enough by the machine

_compiled = njit(**OPTIONS)


class Lanes(NamedTuple):
    """What is known of every lane so far; arrays of ``(lanes,)``, or ``(parts, lanes)``."""

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
    """The running sums of the two parts."""
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    missing: NDArray[np.int64]
    infinite: NDArray[np.int64]


# The parts of the sums: 0-2 from `_sum_short`, 3-10 from `_sum_long`.
_PARTS = 11
_GRID = np.array(
    [46, 46, 92, 23, 70, 46, 70, 94, 93, 117, 140]
)  # lowest bit below the largest value or square
_SQUARED = np.array([False, True, True, False, False, True, True, True, True, True, True])
_TWICE = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 2.0, 2.0, 1.0])


def lanes_of(count: int) -> Lanes:
    """Nothing read yet."""
    zeros, none = np.zeros(count), np.zeros(count, dtype=np.int64)
    return Lanes(
        exponent=np.full(count, _UNSET),
        top=zeros.copy(),
        bottom=zeros.copy(),
        least=zeros.copy(),
        cuts=np.zeros((3, count)),
        grids=np.zeros((_PARTS, count)),
        high=np.zeros((_PARTS, count)),
        low=np.zeros((_PARTS, count)),
        minimum=np.full(count, np.inf),
        maximum=np.full(count, -np.inf),
        missing=none.copy(),
        infinite=none,
    )


@_compiled
def _reduce(x, rows, rest, stride, lanes, values, squares):
    """Add rows of lanes, `stride` entries apart in the flat `x`, and `rest` entries of one row more.

    `values` and `squares`, ``(columns, limbs)``, are the wide sums; lane ``l`` belongs to column
    ``l % columns``. `flush` ends it.
    """
    count = lanes.top.size
    digits = 24 if x.itemsize == 4 else 53
    near = stride * x.itemsize <= _NEAR
    height = BLOCK if near else max(4, min(BLOCK, _FAR // (stride * x.itemsize) // 4 * 4))
    tiles = (count + TILE - 1) // TILE
    width = min(TILE, ((count + tiles - 1) // tiles + 31) // 32 * 32)
    scratch = np.empty(3 * W, x.dtype)
    cleaned, clean_scratch = np.empty(BLOCK * W), np.empty(3 * W)
    sums, dirty = np.empty(8 * W), np.zeros(W, np.uint8)
    whole = rows // 4 * 4
    for row in range(0, whole, height):
        n = min(height, whole - row)
        if not near:
            fetch(x[row * stride : (row + n) * stride])
        for start in range(0, count, width):
            stop = min(count, start + width)
            block = x[row * stride + start :]
            scan_block(block, n, stride, stop - start, scratch)
            _block(
                block, n, stride, start, stop, digits, lanes, values, squares, scratch, sums, dirty, cleaned,
                clean_scratch,
            )  # fmt: skip
    left = x[whole * stride :]
    for lane in range(count):
        n = rows - whole + (lane < rest)
        _one_by_one(left, n, stride, lane, lane, digits, lanes, values, squares, True)


@_compiled
def _flush_all(lanes, values, squares):
    """Move what the lanes hold into the wide sums, when nothing more is to come."""
    for lane in range(lanes.top.size):
        _flush(lane, lanes, values, squares)


@_compiled
def _block(
    x, rows, stride, start, stop, digits, lanes, values, squares, scratch, sums, dirty, cleaned, clean_scratch
):
    """Add one scanned block of lanes `start` to `stop`; `dirty` is all zeros before and after."""
    n = stop - start
    short = digits == 24
    bottom = lanes.bottom[start:stop] if short else lanes.least[start:stop]
    if outside(n, scratch, lanes.top[start:stop], bottom):
        _judge(scratch, start, stop, digits, _SHORT if short else _LONG, lanes, values, squares, dirty)
    cuts = lanes.cuts[0, start:stop], lanes.cuts[1, start:stop], lanes.cuts[2, start:stop]
    sum_block(x, rows, stride, n, cuts, sums)
    spoilt = count_spoilt(n, sums, dirty)
    if spoilt > 1 and spoilt * _MANY > n:
        _clean_block(
            x, rows, stride, start, stop, digits, lanes, values, squares, sums, dirty, cleaned, clean_scratch
        )
    else:
        if spoilt:
            _set_aside(x, rows, stride, start, stop, digits, lanes, values, squares, scratch, sums, dirty)
        _keep(start, stop, 0 if short else 3, 3 if short else 8, sums, lanes)
        keep_range(n, scratch, lanes.minimum[start:stop], lanes.maximum[start:stop])
    if spoilt:
        dirty[:n] = 0


@_compiled
def _set_aside(x, rows, stride, start, stop, digits, lanes, values, squares, scratch, sums, dirty):
    """Do the dirty lanes entry by entry, and take them out of the block."""
    for lane in range(stop - start):
        if dirty[lane]:
            _one_by_one(x, rows, stride, lane, start + lane, digits, lanes, values, squares, True)
            for part in range(8):
                sums[part * W + lane] = 0.0
            scratch[lane], scratch[W + lane] = np.inf, -np.inf


@_compiled
def _clean_block(x, rows, stride, start, stop, digits, lanes, values, squares, sums, dirty, cleaned, scratch):
    """Add a block with NaN or infinity in many lanes: counted, then replaced by zeros in a copy."""
    n = stop - start
    clean(x, rows, stride, n, cleaned, scratch, lanes.missing[start:stop], lanes.infinite[start:stop])
    dirty[:n] = 0
    keep_range(n, scratch, lanes.minimum[start:stop], lanes.maximum[start:stop])
    _judge(scratch, start, stop, digits, _LONG, lanes, values, squares, dirty)
    cuts = lanes.cuts[0, start:stop], lanes.cuts[1, start:stop], lanes.cuts[2, start:stop]
    sum_long(cleaned, rows, W, n, cuts, sums)
    for lane in range(n):
        if dirty[lane]:
            _one_by_one(cleaned, rows, W, lane, start + lane, digits, lanes, values, squares, False)
            for part in range(8):
                sums[part * W + lane] = 0.0
    _keep(start, stop, 3, 8, sums, lanes)


@_compiled
def _judge(scratch, start, stop, digits, kept, lanes, values, squares, dirty):
    """Mark the lanes whose block cannot be split at their scale, after moving the scale where that helps."""
    for lane in range(start, stop):
        at = lane - start
        high, least = larger(scratch[W + at], -scratch[at]), scratch[2 * W + at]
        bottom = lanes.least[lane] if kept == _LONG else lanes.bottom[lane]
        dirty[at] = 0
        if high < lanes.top[lane] and least >= bottom:
            continue
        if high == 0.0 or high == -np.inf:  # nothing but zeros, or nothing but NaN
            continue
        dirty[at] = 1
        if high == np.inf:
            continue
        exponent = math.frexp(np.float64(high))[1]
        fits = math.frexp(np.float64(least))[1] - digits >= exponent - kept
        if exponent > lanes.exponent[lane] or (fits and exponent < lanes.exponent[lane]):
            _flush(lane, lanes, values, squares)
            _set_scale(lane, exponent, digits, lanes)
        if fits and lanes.top[lane] > 0.0:
            dirty[at] = 0


@_compiled
def _set_scale(lane, exponent, digits, lanes):
    lanes.exponent[lane] = exponent
    if not _LOWEST < exponent < _HIGHEST:
        lanes.top[lane] = 0.0  # every entry by itself
        return
    lanes.top[lane] = math.ldexp(1.0, exponent)
    lanes.bottom[lane] = math.ldexp(1.0, exponent - (_SHORT if digits == 24 else _LONG) + digits - 1)
    lanes.least[lane] = math.ldexp(1.0, exponent - _LONG + digits - 1)
    lanes.cuts[0, lane] = math.ldexp(1.5, 52 + 2 * exponent - 46)
    lanes.cuts[1, lane] = math.ldexp(1.5, 52 + exponent - 23)
    lanes.cuts[2, lane] = math.ldexp(1.5, 52 + exponent - 47)
    for part in range(_PARTS):
        size = 2 * exponent if _SQUARED[part] else exponent
        lanes.grids[part, lane] = math.ldexp(1.5, 52 + 27 + size - _GRID[part])


@_compiled
def _keep(start, stop, first, parts, sums, lanes):
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
def _one_by_one(x, rows, stride, at, lane, digits, lanes, values, squares, counting):
    """Add a lane of a block entry by entry, whatever its entries are."""
    column = lane % len(values)
    t = u = aa = ab = bb = ac = bc = cc = 0.0
    for row in range(rows):
        v = np.float64(x[row * stride + at])
        m = abs(v)
        if not m < np.inf:
            if v != v:
                lanes.missing[lane] += 1
            else:
                lanes.infinite[lane] += 1
            continue
        if counting:
            lanes.minimum[lane] = smaller(v, lanes.minimum[lane])
            lanes.maximum[lane] = larger(v, lanes.maximum[lane])
        if lanes.least[lane] <= m < lanes.top[lane]:
            t, u, aa, ab, bb, ac, bc, cc = add_long(
                v, lanes.cuts[1, lane], lanes.cuts[2, lane], t, u, aa, ab, bb, ac, bc, cc
            )
        elif m > 0.0:
            deposit(v, values, column, VALUE_BIAS)
            deposit_square(v, squares, column)
    for part, total in enumerate((t, u, aa, ab, bb, ac, bc, cc)):
        grid = lanes.grids[3 + part, lane]
        upper = (total + grid) - grid
        lanes.high[3 + part, lane] += upper
        lanes.low[3 + part, lane] += total - upper


@_compiled
def _flush(lane, lanes, values, squares):
    """Move a lane's running sums into the wide integers of its column."""
    column = lane % len(values)
    for part in range(_PARTS):
        for total in (lanes.high[part, lane], lanes.low[part, lane]):
            if _SQUARED[part]:
                deposit(_TWICE[part] * total, squares, column, SQUARE_BIAS)
            else:
                deposit(total, values, column, VALUE_BIAS)
        lanes.high[part, lane] = lanes.low[part, lane] = 0.0


def _entry_points(sources: str) -> tuple[Any, Any]:
    """The functions that Python calls, kept on disk once compiled.

    numba tells by the file of a function whether it has changed, and does not look at what it calls, here or
    elsewhere; `sources`, a digest of all these files, is a part of the two functions, so that compiled code of
    other files is never taken for theirs.
    """

    @njit(cache=True, **OPTIONS)
    def reduce_lanes(x, rows, rest, stride, lanes, values, squares):
        if len(sources) > 0:
            _reduce(x, rows, rest, stride, lanes, values, squares)

    @njit(cache=True, **OPTIONS)
    def flush(lanes, values, squares):
        if len(sources) > 0:
            _flush_all(lanes, values, squares)

    return reduce_lanes, flush


def _digest() -> str:
    files = [Path(__file__).with_name(f"{name}.py") for name in ("blocks", "compiled", "limbs", "sums")]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


reduce_lanes, flush = _entry_points(_digest())
