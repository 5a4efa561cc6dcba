"""The moments of a piece of a file or table."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import or_
from typing import Any

import numpy as np

from ..data.source import Piece
from ..errors import ArgumentError
from .column_moments import ColumnMoments
from .columns import reduce_batch, reduce_columns
from .exact.products import products_of


def moments_of_piece(piece: Piece, **options: Any) -> ColumnMoments:
    """Moments of a piece; `options` are those of `Moments.of` (`axis` only where there is an array).

    Examples
    --------
    >>> piece = Piece(columns=[np.array([1, 3]), np.array([0.5])], rows=2, missing=(0, 1))
    >>> moments = moments_of_piece(piece)
    >>> moments.mean.tolist(), moments.missing.tolist()
    ([2.0, 0.5], [0, 1])
    """
    if piece.array is not None:
        return reduce_batch(piece.array, **options)
    if options.pop("axis", None) not in (None, 1, -1):
        raise ArgumentError("axis is for arrays: a table has its statistics by column")
    if options.get("covariance") and piece.whole_rows is not None:
        parts = (moments_of_piece(part, **options) for part in piece.whole_rows())
        return reduce(or_, parts, ColumnMoments.empty(len(piece.columns)))
    options |= {"rows": piece.rows, "missing": piece.missing}
    if not (options.get("covariance") and piece.present and any(piece.missing)):
        return reduce_columns(piece.columns, **options)
    # Only products need whole rows, in which NaN stands for null: integers would lose digits to it.
    options["covariance"] = False
    return replace(
        reduce_columns(piece.columns, **options), products=products_of(np.column_stack(piece.filled()))
    )
