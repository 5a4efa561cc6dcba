"""From moments to a map: what each column is centred on, divided by, and how the columns are then mixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import choice, flag, interval
from ..choices import METHODS
from ..data.column_names import listed
from ..errors import ArgumentError, DataError
from ..moments.column_moments import ColumnMoments
from ..moments.sparse import entries_of

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

WHITENING = frozenset({"whiten", "zca"})
SCALED = frozenset({"standard", "robust"})
"""Methods of which the subtraction and the division can be had alone."""
_FEATURE_RANGE = (0.0, 1.0)
_QUARTILES = (25.0, 75.0)


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method and its options, checked: made by `method_of`."""

    name: str
    clip: tuple[float, float] | None = None
    """What the outputs are held within."""
    feature_range: tuple[float, float] | None = None
    """What minmax maps the training data to; None for other methods."""
    quantile_range: tuple[float, float] | None = None
    """In percent: the quantiles whose distance robust divides by; None for other methods."""
    with_centering: bool = True
    with_scaling: bool = True


OPTIONS = ("clip", "feature_range", "quantile_range", "with_centering", "with_scaling")


def method_of(
    name: Any,
    *,
    clip: Any = False,
    feature_range: Any = None,
    quantile_range: Any = None,
    with_centering: Any = True,
    with_scaling: Any = True,
) -> Method:
    """The method with its options; see `wellposed.Normalizer.fit`.

    Raises
    ------
    ArgumentError
        When an option has a value that it cannot take, or is of another method.

    Examples
    --------
    >>> method_of("minmax", clip=True, feature_range=(-1, 1)).clip
    (-1.0, 1.0)
    """
    name = choice(name, "method", METHODS)
    range_ = _of_method(
        "feature_range", feature_range, name, "minmax", _FEATURE_RANGE, "two numbers, the lower one first"
    )
    quantiles = _of_method(
        "quantile_range",
        quantile_range,
        name,
        "robust",
        _QUARTILES,
        "two percentages from 0 to 100, the lower one first",
        least=0,
        most=100,
    )
    steps = {"with_centering": with_centering, "with_scaling": with_scaling}
    for step, value in steps.items():
        if not flag(value, step) and name not in SCALED:
            raise ArgumentError(
                f"{step}=False is for method='standard' and 'robust', and the method is {name!r}: leave it out"
                + ("; maxabs subtracts nothing" if name == "maxabs" and step == "with_centering" else "")
            )
    return Method(
        name=name,
        clip=_bounds(clip, name, range_),
        feature_range=range_,
        quantile_range=quantiles,
        with_centering=bool(with_centering),
        with_scaling=bool(with_scaling),
    )


def _of_method(
    option: str,
    value: Any,
    name: str,
    method: str,
    default: tuple[float, float],
    expected: str,
    **limits: float,
) -> tuple[float, float] | None:
    """An option that one method has."""
    if value is not None and name != method:
        raise ArgumentError(
            f"{option} is for method={method!r}, and the method is {name!r}: leave {option} out"
        )
    if name != method:
        return None
    return default if value is None else interval(value, option, expected=expected, **limits)


def _bounds(clip: Any, name: str, feature_range: tuple[float, float] | None) -> tuple[float, float] | None:
    expected = "True, False, or two numbers, the lower one first"
    if isinstance(clip, tuple | list | np.ndarray):
        return interval(clip, "clip", expected=expected)
    if not flag(clip, "clip", expected=expected):
        return None
    if name not in ("minmax", "maxabs"):
        raise ArgumentError(
            f"clip=True is for method='minmax' and 'maxabs', and {name!r} has no range of its own: give bounds, "
            "such as clip=(-5, 5), on the command line --clip-to -5 5"
        )
    return feature_range or (-1.0, 1.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Transform:
    """``z = (x - center) / scale``, then ``z @ rotation`` where there is one."""

    center: Floats
    scale: Floats
    rotation: Floats | None = None
    quartiles: Floats | None = None
    """Lower quantile, median and upper quantile of every column."""
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
    method: Method,
    m: ColumnMoments,
    selected: Flags,
    label: Callable[[int], str],
    *,
    mixing: ColumnMoments | None = None,
) -> Transform:
    """The map of `method` for the columns that are `selected`; the others keep center 0 and scale 1.

    The covariance is that of `mixing`, moments of the selected columns alone, or else that of `m`.

    Raises
    ------
    DataError
        When a column spans more than float64 holds, or a covariance cannot be told.
    """
    # Entries for columns without a finite value are never used: they cannot be selected.
    if method.name == "standard":
        made = Transform(center=m.mean, scale=_std(m))
    elif method.feature_range is not None:
        made = _minmax(m, *method.feature_range)
    elif method.name == "maxabs":
        largest = np.maximum(np.abs(m.minimum), np.abs(m.maximum))
        made = Transform(center=np.zeros(m.shape), scale=np.where(largest > 0, largest, 1.0))
    elif method.quantile_range is not None:
        made = _robust(m, method, selected, label)
    else:
        rotation, remarks = rotation_of(
            m, _std(m), selected=selected, mixing=mixing or m, zca=method.name == "zca", label=label
        )
        made = Transform(center=m.mean, scale=_std(m), rotation=rotation, remarks=tuple(remarks))
    _check_span(m, made, selected, label)
    return replace(
        made,
        center=np.where(selected & method.with_centering, made.center, 0.0),
        scale=np.where(selected & method.with_scaling, made.scale, 1.0),
    )


def _std(m: ColumnMoments) -> Floats:
    """The std, or 1 for a column that has none beyond the rounding of what was stored."""
    return np.where(m.constant | ~(m.std > 0), 1.0, m.std)


def _minmax(m: ColumnMoments, low: float, high: float) -> Transform:
    """``(x - min) / scale``, from 0 on; `low` is added behind it, since in the center it would be lost far from 0."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        scale = np.where(m.constant, 1.0, m.maximum - m.minimum) / (high - low)
        return Transform(center=m.minimum, scale=scale)


def _robust(m: ColumnMoments, method: Method, selected: Flags, label: Callable[[int], str]) -> Transform:
    low, high = method.quantile_range or _QUARTILES
    quartiles = np.stack([m.quantile(q) for q in (low / 100, 0.5, high / 100)])
    lower, median, upper = quartiles
    spread = upper - lower
    # As for a constant column: what two spacings of the stored values can make is no spread.
    flat = ~(spread > 2 * m.precision * np.maximum(np.abs(lower), np.abs(upper)))
    uses_std = flat & ~m.constant & selected & method.with_scaling
    remarks = []
    if uses_std.any():
        names = listed(label(int(i)) for i in np.flatnonzero(uses_std))
        part = "the middle half" if (low, high) == _QUARTILES else f"from {low:g} to {high:g} % all"
        remarks.append(f"{part} is one value, so divided by the std: {names}")
    return Transform(
        center=median,
        scale=np.where(flat, _std(m), spread),
        quartiles=quartiles,
        rank_error=float(m.rank_error),
        remarks=tuple(remarks),
    )


def _check_span(m: ColumnMoments, made: Transform, selected: Flags, label: Callable[[int], str]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        ends = np.maximum(np.abs(m.minimum - made.center), np.abs(m.maximum - made.center))
        beyond = np.flatnonzero(selected & ~(np.isfinite(ends) & np.isfinite(made.scale) & (made.scale > 0)))
    if beyond.size:
        low, high = (float(v.flat[beyond[0]]) for v in (m.minimum, m.maximum))
        raise DataError(
            f"column {label(int(beyond[0]))} spans {low:.3g} to {high:.3g}, and the difference is beyond float64: "
            "rescale it, or leave it out with columns="
        )


def refuse_filling(method: Method, data: Any) -> None:
    """Refuse a fit on a sparse matrix that would need the zeros one by one, with what to do instead."""
    if method.name == "maxabs" or (method.name == "standard" and not method.with_centering):
        return
    entries = entries_of(data)
    if entries is None:
        return
    in_order = method.name == "robust" and not method.with_centering
    why = "needs all entries in order" if in_order else "subtracts, which would fill its zeros"
    raise DataError(
        f"the data are a sparse {entries.kind}, and method={method.name!r} {why}: expected {entries.dense}, or "
        "method='maxabs', or method='standard' with with_centering=False"
    )


# Whitening.

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
