"""The hot loop: exact Σx and Σx² of columns, compiled by numba into machine code that `machine_code` keeps and runs.

A block is up to 128 rows of some lanes. The entries of a lane are split at fixed powers of two below its
largest, into digits so short that float64 adds 128 of them, or of their products, without rounding. Nothing is
ever rounded, so no order of adding can matter. Splitting by adding a large constant and taking it away again
follows T. J. Dekker (Numer. Math. 18, 1971) and K. Ozaki, T. Ogita, S. Oishi and S. M. Rump (Numer. Algorithms
59, 2012). Block sums (`kernel_blocks`) go, in two exact parts, into running sums, and these into the wide integers of
`sums` when a lane's scale changes and at the end.

An entry that does not fit (not finite, 2**18 times smaller than its lane's largest, near the ends of the
exponent range) shows itself before its block is kept; its lane is then done entry by entry.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding as llvm
from numba import config, njit, types
from numba.core.errors import NumbaError
from numba.np.numpy_support import carray
from numpy.typing import NDArray

from .kernel_blocks import (
    OPTIONS,
    add_long,
    clean,
    count_spoilt,
    keep_range,
    larger,
    outside,
    scan_block,
    smaller,
    sum_block,
    sum_long,
)
from .kernel_lanes import BLOCK, FLOATS, PARTS, WHOLES, W
from .sums import SQUARE_BIAS, SQUARE_LIMBS, VALUE_BIAS, VALUE_LIMBS

TILE = 256
_BYTES = 262144  # of a block of wide rows: lower blocks stay in the cache from one loop to the next
_MANY = 8  # from one lane in so many that hold NaN or infinity, the whole block is cleaned
_LEVELS = 6  # times that a lane's small entries are split at a lower scale, before they are added one by one

_compiled = njit(**OPTIONS)


class BlockScratch(NamedTuple):
    """Room for one block; the parts of `kernel_lanes.Room`."""

    seen: NDArray[Any]
    """Minimum, maximum and least magnitude of each lane, in the dtype of the data; rows `W` apart."""
    sums: NDArray[np.float64]
    dirty: NDArray[np.uint8]
    """Lanes that cannot be split as they are."""
    cleaned: NDArray[np.float64]
    """The block without NaN and infinity."""
    seen_cleaned: NDArray[np.float64]


@_compiled
def _reduce(x, rows, rest, stride, lanes, scratch):
    count = lanes.top.size
    height = max(4, min(BLOCK, _BYTES // (stride * x.itemsize) // 4 * 4))
    tiles = (count + TILE - 1) // TILE
    width = min(TILE, ((count + tiles - 1) // tiles + 31) // 32 * 32)
    whole = rows // 4 * 4
    for row in range(0, whole, height):
        for start in range(0, count, width):
            stop = min(count, start + width)
            _block(x[row * stride + start :], min(height, whole - row), stride, start, stop, lanes, scratch)
    left = x[whole * stride :]
    for lane in range(count):
        _one_by_one(left, rows - whole + (lane < rest), stride, lane, lane, True, lanes)


@_compiled
def _block(x, rows, stride, start, stop, lanes, scratch):
    """Add a block of the lanes `start` to `stop`; no lane is dirty on entry and on return."""
    n = stop - start
    short = lanes.digits == 24
    sums, dirty = scratch.sums, scratch.dirty
    scan_block(x, rows, stride, n, scratch.seen)
    bottom = lanes.bottom[start:stop] if short else lanes.least[start:stop]
    if outside(n, scratch.seen, lanes.top[start:stop], bottom):
        _mark_unsplittable(scratch.seen, start, stop, SHORT if short else LONG, lanes, dirty)
    cuts = lanes.cuts[0, start:stop], lanes.cuts[1, start:stop], lanes.cuts[2, start:stop]
    sum_block(x, rows, stride, n, cuts, sums)
    spoilt = count_spoilt(n, sums, dirty)
    if spoilt > 1 and spoilt * _MANY > n:
        _clean_block(x, rows, stride, start, stop, lanes, scratch)
    else:
        if spoilt:
            _set_aside(x, rows, stride, start, stop, True, lanes, scratch)
        add_to_running(start, stop, 0 if short else 3, 3 if short else 8, sums, lanes)
        keep_range(n, scratch.seen, lanes.minimum[start:stop], lanes.maximum[start:stop])
    if spoilt:
        dirty[:n] = 0


@_compiled
def _set_aside(x, rows, stride, start, stop, ranging, lanes, scratch):
    """Do the dirty lanes entry by entry, and take them out of the block."""
    for lane in range(stop - start):
        if scratch.dirty[lane]:
            _one_by_one(x, rows, stride, lane, start + lane, ranging, lanes)
            for part in range(8):
                scratch.sums[part * W + lane] = 0.0
            if ranging:
                scratch.seen[lane], scratch.seen[W + lane] = np.inf, -np.inf


@_compiled
def _clean_block(x, rows, stride, start, stop, lanes, scratch):
    """Add a block with NaN or infinity in many lanes: counted, then replaced by zeros in a copy."""
    n = stop - start
    cleaned, seen = scratch.cleaned, scratch.seen_cleaned
    clean(x, rows, stride, n, cleaned, seen, lanes.missing[start:stop], lanes.infinite[start:stop])
    keep_range(n, seen, lanes.minimum[start:stop], lanes.maximum[start:stop])
    scratch.dirty[:n] = 0
    _mark_unsplittable(seen, start, stop, LONG, lanes, scratch.dirty)
    cuts = lanes.cuts[0, start:stop], lanes.cuts[1, start:stop], lanes.cuts[2, start:stop]
    sum_long(cleaned, rows, W, n, cuts, scratch.sums)
    _set_aside(cleaned, rows, W, start, stop, False, lanes, scratch)
    add_to_running(start, stop, 3, 8, scratch.sums, lanes)


@_compiled
def _mark_unsplittable(seen, start, stop, kept, lanes, dirty):
    """Mark the lanes whose block cannot be split at their scale, after moving the scale where that helps."""
    for lane in range(start, stop):
        at = lane - start
        high, least = larger(seen[W + at], -seen[at]), seen[2 * W + at]
        bottom = lanes.least[lane] if kept == LONG else lanes.bottom[lane]
        if high < lanes.top[lane] and least >= bottom:
            continue
        if high == 0.0 or high == -np.inf:  # nothing but zeros, or nothing but NaN
            continue
        dirty[at] = 1
        if high == np.inf:
            continue
        exponent = math.frexp(np.float64(high))[1]
        fits = math.frexp(np.float64(least))[1] - lanes.digits >= exponent - kept
        if exponent > lanes.exponent[lane] or (fits and exponent < lanes.exponent[lane]):
            flush_lane(lane, lanes)
            set_scale(lane, exponent, lanes)
        if fits and lanes.top[lane] > 0.0:
            dirty[at] = 0


@_compiled
def _one_by_one(x, rows, stride, at, lane, ranging, lanes):
    """Add a lane of a block entry by entry, whatever its entries are; `ranging` for its minimum and maximum too."""
    t = u = aa = ab = bb = ac = bc = cc = 0.0
    first, second, top, least = lanes.cuts[1, lane], lanes.cuts[2, lane], lanes.top[lane], lanes.least[lane]
    small = 0
    for row in range(rows):
        v = np.float64(x[row * stride + at])
        m = abs(v)
        if not m < np.inf:
            if v != v:
                lanes.missing[lane] += 1
            else:
                lanes.infinite[lane] += 1
            continue
        if ranging:
            lanes.minimum[lane] = smaller(v, lanes.minimum[lane])
            lanes.maximum[lane] = larger(v, lanes.maximum[lane])
        if least <= m < top:
            t, u, aa, ab, bb, ac, bc, cc = add_long(v, first, second, t, u, aa, ab, bb, ac, bc, cc)
        elif m == 0.0:
            continue
        elif m >= top:
            _add_entry(v, lane, lanes)
        else:
            small += 1
    for part, total in enumerate((t, u, aa, ab, bb, ac, bc, cc)):
        grid = lanes.grids[3 + part, lane]
        upper = (total + grid) - grid
        lanes.high[3 + part, lane] += upper
        lanes.low[3 + part, lane] += total - upper
    if small:
        _add_small(x, rows, stride, at, lane, small, lanes)


@_compiled
def _add_small(x, rows, stride, at, lane, small, lanes):
    """Add the `small` entries below what a lane's scale can split, at lower and lower scales."""
    column = lane % len(lanes.values)
    top = lanes.least[lane]
    step = top / lanes.top[lane]  # a power of two, as everything here that is multiplied
    first, second = step * lanes.cuts[1, lane], step * lanes.cuts[2, lane]
    level = 0
    while small and level < _LEVELS and top > math.ldexp(1.0, LOWEST):
        bottom = top * step
        t = u = aa = ab = bb = ac = bc = cc = 0.0
        for row in range(rows):
            v = np.float64(x[row * stride + at])
            if bottom <= abs(v) < top:
                t, u, aa, ab, bb, ac, bc, cc = add_long(v, first, second, t, u, aa, ab, bb, ac, bc, cc)
                small -= 1
        deposit(t, lanes.values, column, VALUE_BIAS)
        deposit(u, lanes.values, column, VALUE_BIAS)
        for total in (aa, 2.0 * ab, bb, 2.0 * ac, 2.0 * bc, cc):
            deposit(total, lanes.squares, column, SQUARE_BIAS)
        top, first, second = bottom, first * step, second * step
        level += 1
    if small:
        for row in range(rows):
            v = np.float64(x[row * stride + at])
            if 0.0 < abs(v) < top:
                _add_entry(v, lane, lanes)


@_compiled
def _add_entry(v, lane, lanes):
    """Add one entry, which is not zero, straight to the wide sums."""
    column = lane % len(lanes.values)
    deposit(v, lanes.values, column, VALUE_BIAS)
    deposit_square(v, lanes.squares, column)


_BARE: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_NAMES = {"numba_frexp": "frexp", "numba_ldexp": "ldexp", "NRT_MemInfo_call_dtor": "abort"}
"""What the code calls by names of numba, and the functions of the C library that do the same. The last frees memory
that numba took: there is none."""
_CALLED = re.compile(r'^declare [^@\n]*@"?(?!llvm\.)([^("]+)', re.MULTILINE)


def _reducer(digits: int) -> Any:
    @njit(**OPTIONS, **_BARE)
    def reduce_lanes(
        x,
        size,
        rows,
        rest,
        stride,
        count,
        columns,
        floats,
        wholes,
        values,
        squares,
        seen,
        sums,
        dirty,
        cleaned,
        again,
    ):
        lanes = lanes_at(digits, count, columns, floats, wholes, values, squares)
        scratch = BlockScratch(
            carray(seen, 3 * W),
            carray(sums, 8 * W),
            carray(dirty, W),
            carray(cleaned, BLOCK * W),
            carray(again, 3 * W),
        )
        _reduce(carray(x, size), rows, rest, stride, lanes, scratch)

    return reduce_lanes


@njit(**OPTIONS, **_BARE)
def _flush(count, columns, floats, wholes, values, squares):
    lanes = lanes_at(0, count, columns, floats, wholes, values, squares)
    for lane in range(count):
        flush_lane(lane, lanes)


def module(*, calls: Sequence[str]) -> Any:
    """The functions ``reduce_float32``, ``reduce_float64`` and ``flush`` as a module of llvmlite.

    Their arguments are those of `_reducer` and `_flush`, after two that numba gives every function: where its result
    goes, and where an exception would; none is ever raised.

    Raises
    ------
    RuntimeError
        When numba cannot compile, or the code calls other functions than `calls`.
    """
    whole, long, floats = types.int64, types.CPointer(types.int64), types.CPointer(types.float64)
    lanes = whole, whole, floats, long, long, long
    made = llvm.parse_assembly(_assembly(_flush, lanes, "flush"))
    for entry, digits in ((types.float32, 24), (types.float64, 53)):
        of_entries = types.CPointer(entry)
        room = of_entries, floats, types.CPointer(types.uint8), floats, floats
        arguments = (of_entries, whole, whole, whole, whole, *lanes, *room)
        made.link_in(llvm.parse_assembly(_assembly(_reducer(digits), arguments, f"reduce_{entry}")))
    others = set(_CALLED.findall(str(made))) - set(calls)
    if others:
        raise RuntimeError(f"the compiled sums call {', '.join(sorted(others))}")
    return made


def _assembly(function: Any, arguments: tuple[Any, ...], name: str) -> str:
    """What numba made of a function, which gets this name."""
    if getattr(config, "DISABLE_JIT", False):
        raise RuntimeError("NUMBA_DISABLE_JIT is set")
    try:
        function.compile(arguments)
    except NumbaError as error:
        raise RuntimeError(str(error)) from None
    text = function.inspect_llvm(function.signatures[0])
    defined = re.search(r'^define [^@\n]*@"?(_ZN[^("]*(?:reduce_lanes|_flush)[^("]*)', text, re.MULTILINE)
    if not defined:
        raise RuntimeError("numba names its functions in an unknown way")
    names = _NAMES | {defined[1]: name}
    return re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], text)


# The scale of a lane and its running sums.

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
def add_to_running(start, stop, first, parts, sums, lanes):
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


# Wide integers: rows of limbs of 32 bits, carried later, in `sums`.


@_compiled
def deposit(v, limbs, column, bias):
    if v == 0.0:
        return
    fraction, exponent = math.frexp(v)
    _add(np.int64(math.ldexp(fraction, 53)), exponent - 53 + bias, limbs, column)


@_compiled
def deposit_square(v, limbs, column):
    """Add v², of v not zero, to the wide sum, from its 53 bits in two halves: up to 2**33 to a limb."""
    fraction, exponent = math.frexp(v)
    whole = abs(np.int64(math.ldexp(fraction, 53)))
    upper, lower = whole >> 27, whole & 0x7FFFFFF
    place = 2 * (exponent - 53) + SQUARE_BIAS
    _add(upper * upper, place + 54, limbs, column)
    _add(2 * upper * lower, place + 27, limbs, column)
    _add(lower * lower, place, limbs, column)


@_compiled
def _add(whole, place, limbs, column):
    """Add ``whole * 2**place`` to a row of limbs of 32 bits, which are not yet carried."""
    size = np.uint64(abs(whole))
    sign = 1 if whole > 0 else -1
    limb, shift = place >> 5, np.uint64(place & 31)
    mask = np.uint64(0xFFFFFFFF)
    limbs[column, limb] += sign * np.int64((size << shift) & mask)
    limbs[column, limb + 1] += sign * np.int64((size >> (np.uint64(32) - shift)) & mask)
    limbs[column, limb + 2] += sign * np.int64((size >> np.uint64(32)) >> (np.uint64(32) - shift))
