"""From moments to a map: what each column is centred on, divided by, and how the columns are then mixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .moments import Moments
from .naming import listed
from .whitening import rotation_of

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

METHODS = ("standard", "minmax", "maxabs", "robust", "whiten", "zca")
WHITENING = frozenset({"whiten", "zca"})
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True, kw_only=True, eq=False)
class Transform:
    """``z = (x - center) / scale``, then ``z @ rotation`` where there is one."""

    center: Floats
    scale: Floats
    rotation: Floats | None = None
    quartiles: Floats | None = None
    """Lower quartile, median and upper quartile of every column."""
    rank_error: float = 0.0
    """Share of the entries by which a quartile may be misplaced; 0 where they are exact."""
    remarks: tuple[str, ...] = ()


def options_for(method: str) -> dict[str, Any]:
    """What must be measured beside the moments.

    Examples
    --------
    >>> options_for("standard"), options_for("zca")
    ({}, {'covariance': True})
    """
    if method == "robust":
        return {"quantiles": True}
    return {"covariance": True} if method in WHITENING else {}


def transform(
    method: str, m: Moments, selected: Flags, label: Callable[[int], str], *, mixing: Moments | None = None
) -> Transform:
    """The map of `method` for the columns that are `selected`; the others keep center 0 and scale 1.

    The covariance is that of `mixing`, moments of the selected columns alone, or else that of `m`.

    Raises
    ------
    DataError
        When a column spans more than float64 holds, or a covariance cannot be told.
    """
    # Entries for columns without a finite value are never used: they cannot be selected.
    if method == "standard":
        found = Transform(center=m.mean, scale=_std(m))
    elif method == "minmax":
        with np.errstate(over="ignore"):
            span = m.maximum - m.minimum
        found = Transform(center=m.minimum, scale=np.where(m.constant, 1.0, span))
    elif method == "maxabs":
        largest = np.maximum(np.abs(m.minimum), np.abs(m.maximum))
        found = Transform(center=np.zeros(m.shape), scale=np.where(largest > 0, largest, 1.0))
    elif method == "robust":
        found = _robust(m, selected, label)
    else:
        rotation, remarks = rotation_of(
            m, _std(m), selected=selected, mixing=mixing or m, zca=method == "zca", label=label
        )
        found = Transform(center=m.mean, scale=_std(m), rotation=rotation, remarks=tuple(remarks))
    _check_span(m, found, selected, label)
    return Transform(
        center=np.where(selected, found.center, 0.0),
        scale=np.where(selected, found.scale, 1.0),
        rotation=found.rotation,
        quartiles=found.quartiles,
        rank_error=found.rank_error,
        remarks=found.remarks,
    )


def _std(m: Moments) -> Floats:
    """The std, or 1 for a column that has none beyond the rounding of what was stored."""
    return np.where(m.constant | ~(m.std > 0), 1.0, m.std)


def _robust(m: Moments, selected: Flags, label: Callable[[int], str]) -> Transform:
    quartiles = np.stack([m.quantile(q) for q in QUARTILES])
    lower, median, upper = quartiles
    spread = upper - lower
    # As for a constant column: what two spacings of the stored values can make is no spread.
    flat = ~(spread > 2 * m.precision * np.maximum(np.abs(lower), np.abs(upper)))
    uses_std = flat & ~m.constant & selected
    remarks = []
    if uses_std.any():
        names = listed(label(int(i)) for i in np.flatnonzero(uses_std))
        remarks.append(f"the middle half is one value, so divided by the std: {names}")
    return Transform(
        center=median,
        scale=np.where(flat, _std(m), spread),
        quartiles=quartiles,
        rank_error=float(m.rank_error),
        remarks=tuple(remarks),
    )


def _check_span(m: Moments, found: Transform, selected: Flags, label: Callable[[int], str]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        ends = np.maximum(np.abs(m.minimum - found.center), np.abs(m.maximum - found.center))
        beyond = np.flatnonzero(selected & ~(np.isfinite(ends) & np.isfinite(found.scale)))
    if beyond.size:
        low, high = (float(v.flat[beyond[0]]) for v in (m.minimum, m.maximum))
        raise DataError(
            f"column {label(int(beyond[0]))} spans {low:.3g} to {high:.3g}, and the difference is beyond float64: "
            "rescale it, or leave it out with columns="
        )
