"""The random numbers with which the outputs of a function are weighted and summed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEW, MANY = 8, 2**19
"""Parts of 1 that the numbers are whole multiples of. Half precision holds few exactly. A backward pass that rounds what comes from
above to half precision shows on many alone; float32 holds five times such a number."""
COARSE = 1e-6
"""A spacing next to 1 above this is that of half precision."""


def random_weights(shape: Sequence[int], key: Sequence[int], *, spacing: float) -> NDArray[np.float64]:
    """Numbers of either sign and size 1/2 to 3/2 for code whose numbers have this spacing next to 1; the same for the same key."""
    parts = FEW if spacing > COARSE else MANY
    rng = np.random.default_rng(tuple(key))
    signs = rng.integers(0, 2, size=tuple(shape), dtype=np.int8) * 2 - 1
    return np.asarray(signs * rng.integers(parts // 2, 3 * parts // 2 + 1, size=tuple(shape)) / parts)
