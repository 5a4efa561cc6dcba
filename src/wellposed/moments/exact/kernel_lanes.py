"""What the compiled sums keep in memory between two blocks, and their room to work in.

A lane is a column, or one of several interleaved parts of a narrow column.
"""

from __future__ import annotations

import numpy as np

from .sums import Digits

W = 264
"""Lanes that fit a row of a block: a constant, so that rows are seen not to overlap; no power of two, for the cache."""
BLOCK = 128
"""Rows of a block at most."""
PARTS = 11
"""Sums that a lane keeps: total, high, low of `kernel_blocks._sum_short`; then t, u, aa, ab, bb, ac, bc, cc of
`kernel_blocks.sum_long`."""
FLOATS, WHOLES = 8 + 3 * PARTS, 3
"""Numbers that are kept of a lane: see `kernel.Lanes`."""
_UNSET = -100_000


class Room:
    """Memory that a block is added in; for one thread at a time, and of no meaning between two calls.

    Its parts, in order: minimum, maximum and least magnitude of each lane in the dtype of the data; eight sums of each
    lane; the lanes that cannot be split as they are; the block without NaN and infinity, and what `seen` holds, of that.
    """

    def __init__(self) -> None:
        self._parts = (
            np.empty(3 * W),
            np.empty(8 * W),
            np.zeros(W, dtype=np.uint8),
            np.empty(BLOCK * W),
            np.empty(3 * W),
        )
        self.addresses = tuple(part.ctypes.data for part in self._parts)


class OpenLanes:
    """Lanes with nothing read yet, ending in the limbs `values` and `squares` of ``(columns, limbs)``."""

    def __init__(self, count: int, values: Digits, squares: Digits) -> None:
        self._floats, self._wholes = np.zeros((FLOATS, count)), np.zeros((WHOLES, count), dtype=np.int64)
        self.minimum, self.maximum = self._floats[-2:]
        self.missing, self.infinite = self._wholes[-2:]
        self.minimum[:], self.maximum[:], self._wholes[0] = np.inf, -np.inf, _UNSET
        self._limbs = values, squares
        arrays = self._floats, self._wholes, values, squares
        self.address = count, len(values), *(array.ctypes.data for array in arrays)
        """How many lanes, of how many columns, and where in memory they are."""
