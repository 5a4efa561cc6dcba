"""Numbers that stand for a missing value: one number, repeated, far from all others of its column."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .result import Sentinel

_REPEATED = 5
_LARGEST_SHARE = 0.5  # what most entries are is no exception
_LEAST_DIFFERENT = 20  # other values: a column of few codes has no typical ones


@np.errstate(over="ignore", invalid="ignore")
def find_sentinels(
    columns: NDArray[Any], minimum: NDArray[Any], maximum: NDArray[Any]
) -> tuple[Sentinel, ...]:
    """Look at the least and the largest value of each column, of shape (entries, columns); 0 often means "none", and is left out."""
    found = [
        *_at_end(columns, minimum, maximum, sign=1),
        *_at_end(columns, -maximum, -minimum, sign=-1),
    ]
    return tuple(sorted(found, key=lambda s: s.column))


def _at_end(
    columns: NDArray[Any], end: NDArray[Any], other_end: NDArray[Any], *, sign: int
) -> list[Sentinel]:
    found = []
    for i in np.flatnonzero(np.isfinite(end) & (end != 0) & (end < other_end)):
        values = sign * columns[:, i].astype(np.float64)
        at = values == end[i]
        count = int(at.sum())
        if not _REPEATED <= count <= _LARGEST_SHARE * len(values):
            continue
        others = values[~at & np.isfinite(values)]
        width, gap = float(np.ptp(others)), float(others.min() - end[i])
        if width > 0 and gap > width and len(np.unique(others)) >= _LEAST_DIFFERENT:
            low, high = sorted((sign * float(others.min()), sign * float(others.max())))
            found.append(
                Sentinel(
                    column=int(i), value=sign * float(end[i]), count=count, entries=len(values),
                    low=low, high=high, distance=gap / width,
                )
            )  # fmt: skip
    return found
