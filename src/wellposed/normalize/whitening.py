"""The rotation that makes standardised columns uncorrelated, and no direction out of rounding noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..moments.column_moments import ColumnMoments

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_UNIT = 2.0**-53  # of float64: half the relative spacing
_TINIEST = float(np.finfo(np.float64).tiny)


def rotation_of(
    m: ColumnMoments,
    scale: Floats,
    *,
    selected: Flags,
    mixing: ColumnMoments,
    zca: bool,
    label: Callable[[int], str],
) -> tuple[Floats, list[str]]:
    """``(columns, columns)``, the identity outside the columns that are mixed, and what there is to say of it.

    With the correlation ``V diag(λ) V'`` it is ``V diag(λ)^-1/2``, times ``V'`` for ZCA (A. Kessy, A. Lewin
    and K. Strimmer, Am. Stat. 72, 2018, table 1). The covariance is that of `mixing`: moments of all columns,
    or of the selected ones alone.
    """
    mixed = np.flatnonzero(selected & ~m.constant)
    rotation, remarks = np.eye(m.count.size), _incomplete(mixing)
    if mixed.size == 0:
        return rotation, remarks
    correlation = _correlation(m, mixing, scale, selected=selected, mixed=mixed, label=label)
    values, vectors = _directions(correlation)
    largest = np.maximum(np.abs(m.minimum), np.abs(m.maximum))[mixed]
    lost = _below_rounding(correlation, values, vectors, 0.5 * m.precision * largest / scale[mixed])
    block = np.where(lost, 0.0, vectors / np.sqrt(np.where(lost, 1.0, values)))
    rotation[np.ix_(mixed, mixed)] = block @ vectors.T if zca else block
    if lost.any():
        remarks.append(
            f"{lost.sum()} of {len(values)} directions hold nothing beyond rounding and become 0; inverse() leaves "
            "them at the mean"
        )
    return rotation, remarks


def _incomplete(m: ColumnMoments) -> list[str]:
    total = int((m.count + m.missing + m.infinite).max())
    if m.complete == total:
        return []
    return [f"directions are those of the {m.complete:,} rows of {total:,} that have no missing entry"]


def _correlation(
    m: ColumnMoments,
    mixing: ColumnMoments,
    scale: Floats,
    *,
    selected: Flags,
    mixed: NDArray[Any],
    label: Callable[[int], str],
) -> Floats:
    covariance = mixing.covariance
    if mixing.complete < 2 or covariance is None:
        raise DataError(
            f"{mixing.complete} of {m.rows} rows have an entry in every column, and whitening needs two: leave "
            "out the columns that lack them with columns="
        )
    with np.errstate(over="ignore", under="ignore"):
        squares = scale[mixed] ** 2
    beyond = mixed[~((squares >= _TINIEST) & np.isfinite(squares))]
    if beyond.size:
        raise DataError(
            f"column {label(int(beyond[0]))} has a std of {scale[beyond[0]]:.3g}, whose square float64 does not "
            "hold: rescale it before whitening"
        )
    places = mixed if mixing is m else np.searchsorted(np.flatnonzero(selected), mixed)
    return covariance[np.ix_(places, places)] / scale[mixed] / scale[mixed, None]


def _directions(correlation: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues, largest first, and eigenvectors whose largest entry is positive."""
    values, vectors = np.linalg.eigh(correlation)
    values, vectors = values[::-1], vectors[:, ::-1]
    return values, vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(values))])


def _below_rounding(correlation: Floats, values: Floats, vectors: Floats, entries: Floats) -> Flags:
    """Directions whose variance the arithmetic, or the rounding of what was stored, could have made.

    The arithmetic: four roundings an entry of the matrix, and the backward error of the eigenvalues,
    dimension times unit roundoff times the norm. The storage: each entry is within half a spacing of what
    was meant (`entries`, in stds), so a projection moves by at most the sum of these along the direction.
    """
    arithmetic = _UNIT * (4 * np.linalg.norm(correlation) + len(values) * values[0])
    storage = (np.abs(vectors).T @ entries) ** 2
    return values <= np.maximum(arithmetic, storage)
