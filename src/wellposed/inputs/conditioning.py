"""What the inputs cost gradient descent: condition numbers, the steps that follow from them, and a picture of the cost.

The loss of a linear layer ``w·x + b`` under squared error curves by E[x̃ x̃ᵀ], where ``x̃ = (x, 1)``: raw second
moments, because the weights are trained beside the bias and feel the means too. Their eigenvalues set the
speed of gradient descent (Y. LeCun, I. Kanter and S. Solla, "Eigenvalues of covariance matrices: application
to neural-network learning", Phys. Rev. Lett. 66, 1991; Y. LeCun et al., "Efficient BackProp", 1998, sections
4.3 and 5). Standardised, the matrix falls apart into the correlation matrix and a 1 for the bias.

`CostContours` draws the cost over the weights of two features: ellipses of equal cost, on raw and on standardised inputs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..moments.column_moments import ColumnMoments
from ..moments.exact.sums import Floats
from .result import Conditioning, CostContours, Ellipse

_MAX_COLUMNS = 512
_ROWS_A_COLUMN = 2  # fewer, and the smallest eigenvalue is made by chance


def steps_a_digit(condition: float) -> float:
    """Steps of gradient descent that divide the error by ten along the slowest direction; at least one.

    At the best fixed rate, 2/(λ_max + λ_min), a step multiplies the error by (κ - 1)/(κ + 1).

    Examples
    --------
    >>> round(steps_a_digit(1000.0)), steps_a_digit(1.0)
    (1151, 1.0)
    """
    if condition <= 1:
        return 1.0
    return max(1.0, math.log(10) / math.log1p(2 / (condition - 1))) if condition < math.inf else math.inf


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def measure_conditioning(x: NDArray[Any], varying: NDArray[np.bool_]) -> Conditioning | str:
    """Condition numbers of a table ``(N, F)``, or the reason for which they cannot be measured.

    Parameters
    ----------
    varying
        The columns that are not constant; the others stand beside the bias, and are left out.
    """
    if reason := _why_not(x, varying):
        return reason
    rows = x[np.isfinite(x).all(axis=1)][:, varying].astype(np.float64)
    center, scale = rows.mean(axis=0), rows.std(axis=0)
    if not (scale > 0).all() or not np.isfinite(scale).all():
        return "in the rows that are complete, some column holds one value, or values whose squares overflow"
    z = (rows - center) / scale
    eigenvalues, vectors = np.linalg.eigh(z.T @ z / len(z))
    real = eigenvalues > _floor(rows, scale)
    if not real.any():
        return "the columns vary by no more than rounding"
    eigenvalues, vectors = eigenvalues[real], vectors[:, real]
    share = rows.shape[1] / len(rows)
    raw = _raw_condition(center, scale, vectors * np.sqrt(eigenvalues))
    standardised = float(max(eigenvalues[-1], 1.0) / min(eigenvalues[0], 1.0))
    return Conditioning(
        raw=raw,
        standardised=standardised,
        error=_error(z, eigenvalues, vectors),
        by_chance=((1 + math.sqrt(share)) / (1 - math.sqrt(share))) ** 2,
        rank=len(eigenvalues),
        columns=rows.shape[1],
        rows=len(rows),
        raw_steps=steps_a_digit(raw),
        standardised_steps=steps_a_digit(standardised),
        steps_ratio=steps_a_digit(raw) / steps_a_digit(standardised),
    )


def _why_not(x: NDArray[Any], varying: NDArray[np.bool_]) -> str | None:
    columns = int(varying.sum())
    if x.ndim != 2:
        return f"the inputs have {x.ndim} dimensions: what a layer sees of them is not a table"
    if not 2 <= columns <= _MAX_COLUMNS:
        return f"{columns} columns vary: it is measured for 2 to {_MAX_COLUMNS}"
    complete = int(np.isfinite(x).all(axis=1).sum())
    if complete <= _ROWS_A_COLUMN * columns:
        return f"{complete} complete rows for {columns} columns: it needs more than {_ROWS_A_COLUMN} a column"
    return None


def _floor(rows: Floats, scale: Floats) -> float:
    """Eigenvalues of the correlation matrix up to here are rounding, of the entries or of the products."""
    spacing = _spacing(rows) * float((np.abs(rows).max(axis=0) / scale).max())
    return rows.shape[1] * max(spacing**2, float(np.finfo(np.float64).eps) * 8)


def _spacing(values: Floats) -> float:
    """Relative spacing of the values as they were stored, also when they have been widened since."""
    narrow = np.array_equal(values, values.astype(np.float32).astype(np.float64))
    return float(np.finfo(np.float32 if narrow else np.float64).eps)


def _raw_condition(center: Floats, scale: Floats, root: Floats) -> float:
    """Of ``G Gᵀ``, with G from the root of the correlation matrix: half the digits of the matrix are lost otherwise.

    ``(x, 1) = T (z, 1)`` keeps the rank, so no eigenvalue has to be called zero a second time.
    """
    g = np.zeros((len(center) + 1, root.shape[1] + 1))
    g[:-1, :-1], g[:-1, -1], g[-1, -1] = scale[:, None] * root, center, 1.0
    singular = np.linalg.svd(g / np.abs(g).max(), compute_uv=False)
    resolved = len(g) * float(np.finfo(np.float64).eps) * singular[0]
    return float((singular[0] / max(singular[-1], resolved)) ** 2)


def _error(z: Floats, eigenvalues: Floats, vectors: Floats) -> float:
    """Of ln(λ_max/λ_min), by how much each row moves the two eigenvalues of the correlation matrix."""
    influence = [
        (z @ vectors[:, i]) ** 2 / eigenvalues[i] - (z * z) @ vectors[:, i] ** 2
        for i in (len(eigenvalues) - 1, 0)
    ]
    return float((influence[0] - influence[1]).std() / math.sqrt(len(z)))


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
