"""The cost over the weights of two features: ellipses of equal cost, on raw and on standardised inputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..moments.column_moments import ColumnMoments
from ..moments.exact.sums import Floats
from .result import CostContours, Ellipse

_REPEATED = 1e-12  # 1 - |correlation| up to here is rounding: the same feature in another unit
_ENTRIES = 1 << 20  # rows are thinned to this many numbers: a picture needs no more


@np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore")
def cost_contours(columns: NDArray[Any], moments: ColumnMoments) -> CostContours | None:
    """Contours over the two worst features; None where fewer than two vary.

    Parameters
    ----------
    columns
        As ``(entries, columns)``.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 100.0], [-1.0, 100.0], [1.0, -100.0], [-1.0, -100.0]])
    >>> from wellposed import Moments
    >>> contours = cost_contours(x, Moments.of(x))
    >>> contours.columns, round(contours.raw.condition), round(contours.standardised.condition)
    ((1, 0), 10000, 1)
    """
    mean, std = moments.mean, moments.std
    square = mean * mean + std * std
    usable = ~moments.constant & (moments.count > 1) & np.isfinite(square) & (square > 0)
    if usable.sum() < 2:
        return None
    first = int(np.argmax(np.where(usable, square, -1.0)))
    correlation = _correlation(columns, mean, std, first)
    usable &= np.isfinite(correlation) & (1 - np.abs(correlation) > _REPEATED)
    usable[first] = False
    raw = [_condition(mean[first], std[first], mean[j], std[j], r) for j, r in enumerate(correlation)]
    gain = np.array(raw) * (1 - np.abs(correlation)) / (1 + np.abs(correlation))
    usable &= np.isfinite(gain)
    if not usable.any():
        return None
    second = int(np.argmax(np.where(usable, gain, -1.0)))
    r = float(correlation[second])
    return CostContours(
        columns=(first, second),
        raw=_ellipse(float(mean[first]), float(std[first]), float(mean[second]), float(std[second]), r),
        standardised=_ellipse(0.0, 1.0, 0.0, 1.0, r),
    )


def _correlation(columns: NDArray[Any], mean: Floats, std: Floats, first: int) -> Floats:
    """Of every column with the first of the pair, over rows that are complete."""
    rows = columns[:: -(-columns.size // _ENTRIES)].astype(np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) < 2:
        return np.full(len(mean), np.nan)
    z = (rows - mean) / std
    z -= z.mean(axis=0)
    return (z[:, first] @ z) / np.sqrt((z[:, first] @ z[:, first]) * (z * z).sum(axis=0))


def _eigenvalues(m1: float, s1: float, m2: float, s2: float, r: float) -> tuple[float, float]:
    """Largest and smallest of E[x xᵀ]; the determinant is a sum of squares, so that nothing cancels."""
    a, d = m1 * m1 + s1 * s1, m2 * m2 + s2 * s2
    determinant = (s1 * m2 - r * s2 * m1) ** 2 + (1 - r * r) * s2 * s2 * a
    largest = (a + d + math.hypot(a - d, 2 * (m1 * m2 + r * s1 * s2))) / 2
    return largest, determinant / largest


def _condition(m1: float, s1: float, m2: float, s2: float, r: float) -> float:
    largest, smallest = _eigenvalues(m1, s1, m2, s2, r)
    return largest / smallest if smallest > 0 else math.inf


def _ellipse(m1: float, s1: float, m2: float, s2: float, r: float) -> Ellipse:
    largest, smallest = _eigenvalues(m1, s1, m2, s2, r)
    a, b, d = m1 * m1 + s1 * s1, m1 * m2 + r * s1 * s2, m2 * m2 + s2 * s2
    steep = math.atan2(2 * b, a - d) / 2
    return Ellipse(
        form=(a, b, d),
        long=1 / math.sqrt(smallest),
        short=1 / math.sqrt(largest),
        angle=(steep + math.pi / 2) % math.pi,
        condition=largest / smallest,
    )
