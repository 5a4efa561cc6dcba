"""Quantiles of columns from sketches that merge: KLL sketches of `datasketches`, one a column.

Z. Karnin, K. Lang and E. Liberty, "Optimal quantile approximation in streams", FOCS 2016. Up to `K` entries a
sketch keeps everything, and quantiles are exact; beyond, their rank is within `rank_error` of the one asked
for, with 99 % confidence. Unlike sums, sketches draw random numbers: they do not repeat to the last bit.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, DataError

K = 4000


@dataclass(frozen=True, kw_only=True, eq=False)
class Counted:
    """The different entries of a column, in order, and how many entries there are up to each."""

    values: NDArray[np.float64]
    ends: NDArray[np.int64]

    @staticmethod
    def of(column: NDArray[Any], counts: NDArray[np.int64]) -> Counted | None:
        """Of finite entries that count so often; None where more than `K` of them differ.

        Examples
        --------
        >>> Counted.of(np.array([5.0, 1.0, 5.0]), np.array([2, 1, 3])).ends.tolist()
        [1, 6]
        """
        read = np.isfinite(column) & (counts > 0)
        values, counts = column[read].astype(np.float64), counts[read]
        order = np.argsort(values, kind="stable")
        values, ends = values[order], np.cumsum(counts[order])
        last = np.append(values[1:] != values[:-1], True)[: len(values)]
        return Counted(values=values[last], ends=ends[last]) if 0 < last.sum() <= K else None

    def quantile(self, q: float) -> float:
        most = int(self.ends[-1]) - 1
        return _interpolated(
            lambda k: self.values[np.searchsorted(self.ends, min(k, most), side="right")], q * most
        )


class Sketches:
    """A sketch a column; immutable: merging makes new ones."""

    def __init__(self, sketches: Sequence[Any], counted: Sequence[Counted | None] = ()) -> None:
        self._sketches = tuple(sketches)
        self._counted = tuple(counted) or (None,) * len(self._sketches)
        """What is known better than by a sketch; merging and saving leave it out."""

    @staticmethod
    def empty(columns: int) -> Sketches:
        kind = _kind()
        return Sketches([kind(K) for _ in range(columns)])

    @staticmethod
    def of(columns: Sequence[NDArray[Any]]) -> Sketches:
        """Of one 1-d array a column; entries that are not finite are left out."""
        made = Sketches.empty(len(columns))
        for sketch, column in zip(made._sketches, columns, strict=True):
            values = np.ascontiguousarray(column, dtype=np.float64)
            sketch.update(values[np.isfinite(values)])
        return made

    def __or__(self, other: Sketches) -> Sketches:
        kind = _kind()
        merged = [kind.deserialize(s.serialize()) for s in self._sketches]
        for mine, theirs in zip(merged, other._sketches, strict=True):
            mine.merge(theirs)
        return Sketches(merged)

    def counting(self, columns: Sequence[NDArray[Any]], counts: Sequence[NDArray[np.int64]]) -> Sketches:
        """The same, and exact where a sketch is not but few of these entries, which count so often, differ."""
        known = [
            Counted.of(column, count) if sketch.is_estimation_mode() else None
            for sketch, column, count in zip(self._sketches, columns, counts, strict=True)
        ]
        return Sketches(self._sketches, known)

    def quantile(self, q: float) -> NDArray[np.float64]:
        """Of each column; NaN where it has no entry."""
        each = zip(self._sketches, self._counted, strict=True)
        return np.array(
            [c.quantile(q) if c else np.nan if s.is_empty() else _quantile(s, q) for s, c in each]
        )

    @property
    def rank_error(self) -> float:
        """Bound on the error in rank, 99 % confidence; 0 where every entry is kept."""
        each = zip(self._sketches, self._counted, strict=True)
        return max(
            (s.normalized_rank_error(False) for s, c in each if s.is_estimation_mode() and c is None),
            default=0.0,
        )

    def are_of(
        self, count: NDArray[np.int64], minimum: NDArray[np.float64], maximum: NDArray[np.float64]
    ) -> bool:
        """Whether each is of so many entries of a column, and of its extremes."""
        return len(self._sketches) == len(count) and all(
            s.n == n and (n == 0 or (s.get_min_value(), s.get_max_value()) == (least, most))
            for s, n, least, most in zip(self._sketches, count, minimum, maximum, strict=True)
        )

    def to_text(self) -> list[str]:
        return [base64.b64encode(s.serialize()).decode() for s in self._sketches]

    @staticmethod
    def from_text(texts: Sequence[str]) -> Sketches:
        kind = _kind()
        try:
            return Sketches([kind.deserialize(base64.b64decode(text, validate=True)) for text in texts])
        except Exception as error:  # whatever the library makes of damaged bytes
            raise DataError(f"a saved quantile sketch is damaged ({error})") from None

    def __reduce__(self) -> Any:
        return Sketches.from_text, (self.to_text(),)


def _quantile(sketch: Any, q: float) -> float:
    n = sketch.n
    if sketch.is_estimation_mode():
        return sketch.get_quantile(q, True)
    # It keeps all entries.
    return _interpolated(lambda k: sketch.get_quantile(min((k + 0.5) / n, 1.0), True), q * (n - 1))


def _interpolated(entry: Callable[[int], float], place: float) -> float:
    """Between the two nearest of the entries in order, as NumPy does."""
    lower, upper = entry(math.floor(place)), entry(math.ceil(place))
    return lower + (place - math.floor(place)) * (upper - lower)


def _kind() -> Any:
    try:
        import datasketches
    except ImportError:
        raise ArgumentError(
            "quantiles need the package datasketches: pip install 'wellposed[quantiles]'"
        ) from None
    return datasketches.kll_doubles_sketch  # type: ignore[attr-defined]  # its stubs leave it out
