"""Adding float64 numbers, and their squares, to rows of limbs of 32 bits; carried later, in `sums`."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .kernel_blocks import OPTIONS
from .sums import SQUARE_BIAS

_compiled = njit(**OPTIONS)


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
