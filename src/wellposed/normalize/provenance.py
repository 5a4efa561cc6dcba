"""Where a normalizer's statistics came from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What was read, so that years later nobody must guess."""

    rows: int
    """Samples read: rows of a table, images."""
    source: str | None
    """Where they came from, in the caller's words; a path, when read from a file."""
    split: str
    """The split they belong to: ``"train"``."""
    fingerprint: str
    """Of the contents: the same rows give the same one, in any order, batch size or exact dtype."""
    version: str
    """Of wellposed."""
    created: str
    """Date and time, UTC, ISO 8601."""


class Fingerprint:
    """A 64-bit sum of one hash a row, so the order of rows does not matter.

    Examples
    --------
    >>> a, b = Fingerprint(), Fingerprint()
    >>> a.update(np.array([[1.0, 2.0], [3.0, 4.0]]))
    >>> b.update(np.array([[3, 4]])), b.update(np.array([[1, 2]]))
    (None, None)
    >>> a.hex() == b.hex()
    True
    """

    def __init__(self) -> None:
        self._total = 0

    def update(self, batch: NDArray[np.generic]) -> None:
        step = max(1, (1 << 17) // max(1, batch[:1].size))
        for start in range(0, len(batch), step):
            self._total += int(_row_hashes(batch[start : start + step]).sum(dtype=np.uint64))

    def hex(self) -> str:
        return f"{self._total % (1 << 64):016x}"


def _row_hashes(rows: NDArray[np.generic]) -> NDArray[np.uint64]:
    # Adding zero makes -0.0 into 0.0; every NaN becomes the same NaN.
    values = rows.reshape(len(rows), -1).astype(np.float64) + 0.0
    values[np.isnan(values)] = np.nan
    places = _mix(np.arange(1, values.shape[1] + 1, dtype=np.uint64))
    return _mix(_mix(values.view(np.uint64) ^ places).sum(axis=1, dtype=np.uint64))


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finalizer (G. L. Steele, D. Lea and C. H. Flood, OOPSLA 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
