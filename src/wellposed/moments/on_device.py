"""A tensor on an accelerator, reduced where it lies."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.batches import is_tensor
from ..errors import DataError
from ..lazy import lazy
from .column_moments import ColumnMoments
from .columns import kept_axes, moments_of
from .exact.accumulator import Accumulator, ColumnSums
from .exact.sums import SQUARE_BIAS, VALUE_BIAS, total

torch_sums = lazy("wellposed.moments.exact.torch_sums")


def reduce_on_device(
    data: Any, *, axis: int | tuple[int, ...] | None, covariance: bool, quantiles: bool
) -> ColumnMoments | None:
    """Moments of a tensor on an accelerator, reduced there; None where that does not apply."""
    if covariance or quantiles or not is_tensor(data):
        return None
    return reduce_tensor(data, axis=axis) if torch_sums.reducible(data) else None


def reduce_tensor(data: Any, *, axis: int | tuple[int, ...] | None = None) -> ColumnMoments:
    """Moments of a floating-point torch tensor, on its device."""
    kept = kept_axes(data.ndim, axis)
    shape = tuple(data.shape[a] for a in kept) or (1,)
    if 0 in shape:
        raise DataError(f"the data has shape {tuple(data.shape)}: expected at least one column")
    columns = int(np.prod(shape))
    rows = data.detach().movedim(kept, tuple(range(-len(kept), 0))).reshape(-1, columns)
    sums = Accumulator(columns).sums()
    for part in torch_sums.sum_columns(rows):
        sums = sums | ColumnSums(
            values=total(part.values, columns, bias=VALUE_BIAS),
            squares=total(part.squares, columns, bias=SQUARE_BIAS),
            missing=part.missing,
            infinite=part.infinite,
            minimum=part.minimum,
            maximum=part.maximum,
        )
    return moments_of(
        sums,
        entries=np.full(columns, len(rows), dtype=np.int64),
        lost=np.zeros(columns, dtype=np.int64),
        shape=shape,
        rows=len(data),
        precision=torch_sums.spacing_of(data),
        products=None,
        sketches=None,
    )
