"""Loops over a block of rows, one vector of lanes at a time: what the compiler must turn into good code.

Every loop over lanes has unit stride, no branches and no calls; the rows go four at a time, so that running
values are loaded and stored once for four. Scratch rows are `W` apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from .kernel_lanes import W

# Contracting a*b + c into one instruction is exact here, as everything else is.
OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
_compiled = njit(**OPTIONS)
inlined = njit(inline="always", **OPTIONS)


@inlined
def smaller(a, b):
    return a if a < b else b


@inlined
def larger(a, b):
    return a if a > b else b


@_compiled
def _scan_long(x, rows, stride, lanes, scratch):
    """Minimum, maximum and least magnitude that is not zero, of each lane; NaN is passed over."""
    for lane in range(lanes):
        scratch[lane] = scratch[2 * W + lane] = np.inf
        scratch[W + lane] = -np.inf
    for row in range(0, rows, 4):
        at = row * stride
        x0, x1 = x[at : at + lanes], x[at + stride : at + stride + lanes]
        x2, x3 = x[at + 2 * stride : at + 2 * stride + lanes], x[at + 3 * stride : at + 3 * stride + lanes]
        for lane in range(lanes):
            v0, v1, v2, v3 = x0[lane], x1[lane], x2[lane], x3[lane]
            low, high, least = scratch[lane], scratch[W + lane], scratch[2 * W + lane]
            low = smaller(v3, smaller(v2, smaller(v1, smaller(v0, low))))
            high = larger(v3, larger(v2, larger(v1, larger(v0, high))))
            m0, m1, m2, m3 = abs(v0), abs(v1), abs(v2), abs(v3)
            least = smaller(m0 if m0 > 0.0 else np.inf, least)
            least = smaller(m1 if m1 > 0.0 else np.inf, least)
            least = smaller(m2 if m2 > 0.0 else np.inf, least)
            least = smaller(m3 if m3 > 0.0 else np.inf, least)
            scratch[lane], scratch[W + lane], scratch[2 * W + lane] = low, high, least


@inlined
def _key(bits):
    """An int32 that orders magnitudes as the float32 of these bits, zero last."""
    return np.int32(np.int32(bits + bits) + np.int32(0x7FFFFFFF))


@_compiled
def _scan_short(x, rows, stride, lanes, scratch):
    """As `_scan_long`, for float32, where integers find the least magnitude in fewer instructions."""
    bits, keys = x.view(np.int32), scratch.view(np.int32)
    for lane in range(lanes):
        scratch[lane], scratch[W + lane] = np.inf, -np.inf
        keys[2 * W + lane] = 0x7FFFFFFF
    for row in range(0, rows, 4):
        at = row * stride
        x0, x1 = x[at : at + lanes], x[at + stride : at + stride + lanes]
        x2, x3 = x[at + 2 * stride : at + 2 * stride + lanes], x[at + 3 * stride : at + 3 * stride + lanes]
        b0, b1 = bits[at : at + lanes], bits[at + stride : at + stride + lanes]
        b2, b3 = (
            bits[at + 2 * stride : at + 2 * stride + lanes],
            bits[at + 3 * stride : at + 3 * stride + lanes],
        )
        for lane in range(lanes):
            v0, v1, v2, v3 = x0[lane], x1[lane], x2[lane], x3[lane]
            low, high, least = scratch[lane], scratch[W + lane], keys[2 * W + lane]
            low = smaller(v3, smaller(v2, smaller(v1, smaller(v0, low))))
            high = larger(v3, larger(v2, larger(v1, larger(v0, high))))
            least = smaller(_key(b0[lane]), smaller(_key(b1[lane]), least))
            least = smaller(_key(b2[lane]), smaller(_key(b3[lane]), least))
            scratch[lane], scratch[W + lane], keys[2 * W + lane] = low, high, least
    for lane in range(lanes):
        key = np.int64(keys[2 * W + lane])
        if key == 0x7FFFFFFF:
            scratch[2 * W + lane] = np.inf
        else:
            keys[2 * W + lane] = ((key - 0x7FFFFFFF) & 0xFFFFFFFF) >> 1


@_compiled
def clean(x, rows, stride, lanes, cleaned, scratch, missing, infinite):
    for lane in range(lanes):
        scratch[lane] = scratch[2 * W + lane] = np.inf
        scratch[W + lane] = -np.inf
    for row in range(rows):
        source, target = x[row * stride : row * stride + lanes], cleaned[row * W : row * W + lanes]
        for lane in range(lanes):
            v = np.float64(source[lane])
            m = abs(v)
            finite = m < np.inf
            target[lane] = v if finite else 0.0
            scratch[lane] = smaller(v if finite else np.inf, scratch[lane])
            scratch[W + lane] = larger(v if finite else -np.inf, scratch[W + lane])
            scratch[2 * W + lane] = smaller(m if m > 0.0 else np.inf, scratch[2 * W + lane])
        for lane in range(lanes):
            v = source[lane]
            missing[lane] += v != v
            infinite[lane] += abs(v) == np.inf


@inlined
def _short(v, cut, total, high, low):
    y = np.float64(v)
    h = (y * y + cut) - cut
    return total + y, high + h, low + (y * y - h)


@_compiled
def _sum_short(x, rows, stride, lanes, cuts, sums):
    """Σx, and Σx² in two parts, of float32 entries, whose squares float64 holds."""
    cut = cuts[0]
    sums[: 3 * W] = 0.0
    for row in range(0, rows, 4):
        at = row * stride
        x0, x1 = x[at : at + lanes], x[at + stride : at + stride + lanes]
        x2, x3 = x[at + 2 * stride : at + 2 * stride + lanes], x[at + 3 * stride : at + 3 * stride + lanes]
        for lane in range(lanes):
            c, total, high, low = cut[lane], sums[lane], sums[W + lane], sums[2 * W + lane]
            total, high, low = _short(x0[lane], c, total, high, low)
            total, high, low = _short(x1[lane], c, total, high, low)
            total, high, low = _short(x2[lane], c, total, high, low)
            total, high, low = _short(x3[lane], c, total, high, low)
            sums[lane], sums[W + lane], sums[2 * W + lane] = total, high, low


@inlined
def add_long(v, cut, second, t, u, aa, ab, bb, ac, bc, cc):
    a = (v + cut) - cut
    rest = v - a
    b = (rest + second) - second
    c = rest - b
    return t + a, u + rest, aa + a * a, ab + a * b, bb + b * b, ac + a * c, bc + b * c, cc + c * c


@_compiled
def sum_long(x, rows, stride, lanes, cuts, sums):
    """Σx in two parts and Σx² in six, of entries that are sums of three digits a + b + c."""
    first, second = cuts[1], cuts[2]
    sums[: 8 * W] = 0.0
    for row in range(0, rows, 4):
        at = row * stride
        x0, x1 = x[at : at + lanes], x[at + stride : at + stride + lanes]
        x2, x3 = x[at + 2 * stride : at + 2 * stride + lanes], x[at + 3 * stride : at + 3 * stride + lanes]
        for lane in range(lanes):
            f, s = first[lane], second[lane]
            t, u, aa, ab = sums[lane], sums[W + lane], sums[2 * W + lane], sums[3 * W + lane]
            bb, ac, bc, cc = sums[4 * W + lane], sums[5 * W + lane], sums[6 * W + lane], sums[7 * W + lane]
            t, u, aa, ab, bb, ac, bc, cc = add_long(x0[lane], f, s, t, u, aa, ab, bb, ac, bc, cc)
            t, u, aa, ab, bb, ac, bc, cc = add_long(x1[lane], f, s, t, u, aa, ab, bb, ac, bc, cc)
            t, u, aa, ab, bb, ac, bc, cc = add_long(x2[lane], f, s, t, u, aa, ab, bb, ac, bc, cc)
            t, u, aa, ab, bb, ac, bc, cc = add_long(x3[lane], f, s, t, u, aa, ab, bb, ac, bc, cc)
            sums[lane], sums[W + lane], sums[2 * W + lane], sums[3 * W + lane] = t, u, aa, ab
            sums[4 * W + lane], sums[5 * W + lane], sums[6 * W + lane], sums[7 * W + lane] = bb, ac, bc, cc


def scan_block(x, rows, stride, lanes, scratch):
    """`_scan_short` or `_scan_long`, as the dtype of `x` is."""


def sum_block(x, rows, stride, lanes, cuts, sums):
    """`_sum_short` or `_sum_long`, as the dtype of `x` is."""


@overload(scan_block)
def _pick_scan(x, rows, stride, lanes, scratch):
    chosen = _scan_short if x.dtype == types.float32 else _scan_long
    return lambda x, rows, stride, lanes, scratch: chosen(x, rows, stride, lanes, scratch)


@overload(sum_block)
def _pick_sum(x, rows, stride, lanes, cuts, sums):
    chosen = _sum_short if x.dtype == types.float32 else sum_long
    return lambda x, rows, stride, lanes, cuts, sums: chosen(x, rows, stride, lanes, cuts, sums)


@_compiled
def outside(n, scratch, top, bottom):
    """How many lanes have an entry outside of what can be split at their scale."""
    count = 0
    for lane in range(n):
        inside = (scratch[W + lane] < top[lane]) & (-scratch[lane] < top[lane])
        count += not (inside & (scratch[2 * W + lane] >= bottom[lane]))
    return count


@_compiled
def count_spoilt(n, sums, dirty):
    """Mark the lanes whose sum says that there was a NaN, and count all that are marked."""
    spoilt = 0
    for lane in range(n):
        dirty[lane] |= sums[lane] != sums[lane]
        spoilt += dirty[lane]
    return spoilt


@_compiled
def keep_range(n, scratch, minimum, maximum):
    for lane in range(n):
        minimum[lane] = smaller(np.float64(scratch[lane]), minimum[lane])
        maximum[lane] = larger(np.float64(scratch[W + lane]), maximum[lane])
