"""A normalizer as polars expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import MissingDependency
from . import names_of

if TYPE_CHECKING:
    from ..fitted import FittedTransform


def to_polars(normalizer: FittedTransform) -> list[Any]:
    """One ``pl.Expr`` a column of numbers, in order, for ``frame.with_columns(...)`` or ``lazy.select(...)``.

    Normalised columns come out as Float64, within a rounding of the normalizer's own; columns that are not
    normalised pass as they are. Nulls stay null, and a row with a null in any whitened column is null in all of
    them. Whitened columns keep the names of their places.

    Raises
    ------
    ArgumentError
        When the normalizer was not fitted on a table with names.
    MissingDependency
        When polars is not installed.

    Examples
    --------
    >>> import numpy as np, polars as pl, wellposed as wp
    >>> n = wp.Normalizer.fit(np.array([[1.0], [4.0]]), columns=["height"])
    >>> pl.DataFrame({"height": [4.0, None]}).with_columns(to_polars(n))["height"].to_list()
    [1.0, None]
    """
    try:
        import polars as pl
    except ImportError as error:
        raise MissingDependency(
            "to_polars() needs polars, which is not installed: pip install 'wellposed[files]'"
        ) from error
    names = names_of(normalizer, what="to_polars()")
    # A selector, since pl.col takes "*" and "^...$" for patterns.
    columns = [pl.selectors.by_name(name).as_expr() for name in names]
    alone = [
        _standardised(column.cast(pl.Float64), float(normalizer.center[i]), float(normalizer.scale[i]))
        if normalizer.selected[i]
        else column
        for i, column in enumerate(columns)
    ]
    if normalizer.offset is not None:
        alone = [z + o if o else z for z, o in zip(alone, normalizer.offset.tolist(), strict=True)]
    made = alone if normalizer.rotation is None else _rotated(alone, normalizer, normalizer.rotation)
    if normalizer.clip is not None:
        low, high = normalizer.clip
        chosen = normalizer.selected.tolist()
        made = [z.clip(low, high) if one else z for z, one in zip(made, chosen, strict=True)]
    return [z.alias(name) for z, name in zip(made, names, strict=True)]


def _rotated(alone: list[Any], normalizer: FittedTransform, rotation: NDArray[np.float64]) -> list[Any]:
    made, mixed = [*alone], np.flatnonzero(normalizer.mixed).tolist()
    for i, weights in zip(mixed, rotation[np.ix_(mixed, mixed)].T, strict=True):
        made[i] = _sum([alone[j] * float(w) for j, w in zip(mixed, weights, strict=True)])
    return made


def _standardised(column: Any, center: float, scale: float) -> Any:
    # polars multiplies by the reciprocal of a literal, which for the smallest scales is infinite.
    lift = 2.0**200 if scale < 2.0**-1000 else 1.0
    difference = column - center
    return (difference * lift if lift > 1 else difference) / (scale * lift)


def _sum(terms: list[Any]) -> Any:
    """In pairs of pairs, so that expressions of many columns stay shallow; unlike sum_horizontal, null spreads."""
    while len(terms) > 1:
        terms = [sum(terms[i + 1 : i + 2], terms[i]) for i in range(0, len(terms), 2)]
    return terms[0]
