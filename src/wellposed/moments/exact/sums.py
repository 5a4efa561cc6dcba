"""Sums of float64 numbers, or of their squares, without any rounding: wide integers, one a column.

A sum is ``Σ digits[i] · 2**(32 i)`` times ``2**-bias``: a Kulisch accumulator (U. Kulisch, "Computer
Arithmetic and Validity", 2013), kept only between its lowest and its highest digit in use. Adding two of them
is adding integers, so merging is associative and commutative to the last bit, and equal sums have equal digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Digits = NDArray[np.int64]
Floats = NDArray[np.float64]

VALUE_BIAS = 1152
SQUARE_BIAS = 2304
VALUE_LIMBS = 72
"""Covers 2**-1152 to 2**1152: the smallest subnormal, with 78 bits below it, to 2**127 times the largest."""
SQUARE_LIMBS = 144
_BITS = 32
_MASK = (1 << _BITS) - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class ExactSums:
    """One exact sum a column. The form is unique: equal sums have equal `digits` and `start`."""

    digits: Digits
    """``(columns, limbs)``: the last limb is signed, the others lie in [0, 2**32)."""
    start: int
    """Which limb of the full width the first one is."""
    bias: int
    """A sum is its integer times 2**-bias."""

    def __post_init__(self) -> None:
        self.digits.setflags(write=False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)  # an array comes back writable
        self.__post_init__()

    @staticmethod
    def zero(columns: int, *, bias: int) -> ExactSums:
        return ExactSums(digits=np.zeros((columns, 1), dtype=np.int64), start=0, bias=bias)

    @staticmethod
    def of_limbs(limbs: Digits, *, bias: int) -> ExactSums:
        """From limbs that are not carried yet, ``(columns, limbs)``; they stay as they are."""
        used = np.flatnonzero(limbs.any(axis=0))
        if not len(used):
            return ExactSums.zero(len(limbs), bias=bias)
        first = int(used[0])
        return _canonical(limbs[:, first : int(used[-1]) + 1], first, bias)

    def __add__(self, other: ExactSums) -> ExactSums:
        start = min(self.start, other.start)
        stop = max(self.start + self.digits.shape[1], other.start + other.digits.shape[1])
        total = np.zeros((len(self.digits), stop - start), dtype=np.int64)
        for held in (self, other):
            at = held.start - start
            total[:, at : at + held.digits.shape[1]] += held.digits
        return _canonical(total, start, self.bias)

    def __neg__(self) -> ExactSums:
        return _canonical(-self.digits, self.start, self.bias)

    def shifted(self, limbs: int) -> ExactSums:
        """The sums times ``2**(32 * limbs)``."""
        return ExactSums(digits=self.digits, start=self.start + limbs, bias=self.bias)

    def placed(self, places: Sequence[int], columns: int) -> ExactSums:
        """The sums as those of some of `columns`; the others are zero."""
        digits = np.zeros((columns, self.digits.shape[1]), dtype=np.int64)
        digits[places] = self.digits
        return ExactSums(digits=digits, start=self.start, bias=self.bias)

    def folded(self, columns: int) -> ExactSums:
        """Of sums of `columns` columns that stand several times one after another: the totals, one a column."""
        digits = self.digits.reshape(-1, columns, self.digits.shape[1]).sum(axis=0)
        return _canonical(digits, self.start, self.bias)

    def integers(self) -> list[int]:
        """Each sum times 2**bias, as a whole number."""
        lower = np.ascontiguousarray(self.digits[:, :-1]).astype("<u4").tobytes()
        width = 4 * (self.digits.shape[1] - 1)
        shift = _BITS * self.start
        return [
            (int.from_bytes(lower[i * width : (i + 1) * width], "little") + (int(top) << (8 * width)))
            << shift
            for i, top in enumerate(self.digits[:, -1].tolist())
        ]


def total(terms: list[tuple[Floats, Digits]], columns: int, *, bias: int) -> ExactSums:
    """The exact sum of terms ``value * 2**exponent``, each an array of one entry a column."""
    if not terms:
        return ExactSums.zero(columns, bias=bias)
    pieces = [_whole(value, exponent + bias) for value, exponent in terms]
    places = [place[whole != 0] for whole, place in pieces]
    first = min((int(p.min()) >> 5 for p in places if p.size), default=0)
    last = max((int(p.max()) >> 5 for p in places if p.size), default=0)
    limbs = np.zeros((columns, last - first + 3), dtype=np.int64)
    for whole, place in pieces:
        _add(limbs, whole, np.where(whole == 0, 0, place - _BITS * first))
    return _canonical(limbs, first, bias)


def _whole(value: Floats, exponent: Digits) -> tuple[Digits, Digits]:
    """A whole number and a place such that ``value * 2**exponent`` is ``whole * 2**place``."""
    fraction, power = np.frexp(value)
    return np.ldexp(fraction, 53).astype(np.int64), power.astype(np.int64) - 53 + exponent


def _add(limbs: Digits, whole: Digits, place: Digits) -> None:
    size, sign = np.abs(whole).astype(np.uint64), np.sign(whole)
    limb, shift = place >> 5, (place & 31).astype(np.uint64)
    mask, half = np.uint64(_MASK), np.uint64(_BITS)
    rows = np.arange(len(limbs))
    limbs[rows, limb] += sign * ((size << shift) & mask).astype(np.int64)
    limbs[rows, limb + 1] += sign * ((size >> (half - shift)) & mask).astype(np.int64)
    limbs[rows, limb + 2] += sign * ((size >> half) >> (half - shift)).astype(np.int64)


def _canonical(limbs: Digits, start: int, bias: int) -> ExactSums:
    """Carry, then drop the limbs that every column can do without."""
    columns, width = limbs.shape
    digits = np.zeros((columns, width + 2), dtype=np.int64)
    carry = np.zeros(columns, dtype=np.int64)
    for i in range(width):
        carry += limbs[:, i]
        digits[:, i] = carry & _MASK
        carry >>= _BITS
    digits[:, width] = carry & _MASK
    digits[:, width + 1] = carry >> _BITS
    digits = _without_idle_tops(digits)
    used = np.flatnonzero(digits.any(axis=0))
    if not len(used):
        return ExactSums.zero(columns, bias=bias)
    return ExactSums(digits=digits[:, int(used[0]) :].copy(), start=start + int(used[0]), bias=bias)


def _without_idle_tops(digits: Digits) -> Digits:
    """Fold a top limb into the one below, as its sign, while that changes no column's value."""
    while digits.shape[1] > 1:
        top, below = digits[:, -1], digits[:, -2]
        signed = np.where(below >= 1 << (_BITS - 1), below - (1 << _BITS), below)
        if not ((top == 0) & (signed >= 0) | (top == -1) & (signed < 0)).all():
            break
        digits = np.concatenate([digits[:, :-2], signed[:, None]], axis=1)
    return digits
