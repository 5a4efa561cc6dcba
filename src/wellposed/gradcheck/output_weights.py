"""The random weights with which the outputs of a function are summed to F."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEW, MANY = 8, 2**19
"""The weights are multiples of 1 over this. Few for half precision, which represents them exactly. Many otherwise, so that a backward pass
that rounds the upstream gradient to half precision is found; float32 represents five times such a number exactly."""
COARSE = 1e-6
"""A spacing next to 1 above this is that of half precision."""


def random_weights(shape: Sequence[int], key: Sequence[int], *, spacing: float) -> NDArray[np.float64]:
    """Numbers of either sign and size 1/2 to 3/2 for code whose numbers have this spacing next to 1; the same for the same key."""
    parts = FEW if spacing > COARSE else MANY
    rng = np.random.default_rng(tuple(key))
    signs = rng.integers(0, 2, size=tuple(shape), dtype=np.int8) * 2 - 1
    return np.asarray(signs * rng.integers(parts // 2, 3 * parts // 2 + 1, size=tuple(shape)) / parts)
