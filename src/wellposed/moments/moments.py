"""Count, mean, variance, minimum and maximum of columns, exactly, as a value that merges."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..arguments import flag, refused
from ..data.batches import as_array, axis_for, batches
from ..lazy import lazy
from .column_moments import ColumnMoments
from .reduction import Reduction, reduce_batch, reduce_on_device
from .sparse import check_axis, entries_of, reduce_sparse
from .weighted import reduce_weighted

saved = lazy("wellposed.moments.saved")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Moments(ColumnMoments):
    """Moments of every column, rounded once, that merge: ``Moments.of(a) | Moments.of(b)``.

    Missing (NaN) and infinite entries are counted and left out of everything else. Where a column has no
    finite entry, `mean`, `variance`, `minimum` and `maximum` are NaN. All arrays are read-only and have one
    entry a column.

    Notes
    -----
    Σx and Σx² are kept as wide integers (U. Kulisch, "Computer Arithmetic and Validity", 2013), so nothing is
    lost before mean and variance are rounded, once, to the nearest float64. No cancellation, no overflow; and
    merging is adding integers, so any chunking, order, number of threads or engine gives the same bits.

    Examples
    --------
    >>> import numpy as np
    >>> m = Moments.of(np.array([[1.0, 10.0], [3.0, np.nan]]))
    >>> m.mean.tolist(), m.std.tolist(), m.missing.tolist()
    ([2.0, 10.0], [1.0, 0.0], [0, 1])
    >>> (m | Moments.of(np.array([[5.0, 30.0]]))).mean.tolist()
    [3.0, 20.0]
    """

    @staticmethod
    def of(
        data: Any,
        *,
        axis: int | tuple[int, ...] | None = None,
        mask: NDArray[np.bool_] | None = None,
        sample_weight: Any = None,
        covariance: bool = False,
        quantiles: bool = False,
    ) -> Moments:
        """Moments of an array, a tensor, a DataLoader or any iterable of batches.

        Parameters
        ----------
        data
            A NumPy array (any real dtype, memmap or view), a tensor of torch or JAX, whatever else speaks a
            protocol of arrays (``__array__``, ``__array_interface__``, DLPack), a pair ``(inputs, targets)`` of
            which the inputs count, or something that gives batches: a list, a DataLoader, an iterator, which is
            used up. A batch is an array, a pair, or a dict with its inputs under a usual name. 1-d batches
            ``(N,)`` are one column; of one length, and from anything but a loader, they may be rows, and are
            refused. Images of Pillow, alone or in a list, are samples, with their channels last. Of a sparse
            matrix of SciPy or torch the entries that are not stored count, as zeros.
        axis
            The axes that are kept, one entry each. By default the columns of ``(N, F)``, the channels of
            ``(N, C, H, W)`` and the last axis of ``(N, T, F)``. Axis 0 holds the samples and cannot be kept.
        mask
            Of one array: booleans of its leading axes, such as ``(N, T)``; False entries do not count.
        sample_weight
            Of one array, tensor or sparse matrix: a whole number a row, how often it counts. The same bits as of
            repeated rows, without repeating them; `rows` and `count` are what is counted.
        covariance
            Keep the sums of products too, over complete rows, for `covariance`.
        quantiles
            Keep sketches too, for `quantile`; needs the extra ``quantiles``.

        Raises
        ------
        DataError
            When there is nothing to read, the batches differ in shape, or rows cannot be told from columns.
        ArgumentError
            When `axis`, `mask` or `sample_weight` does not fit the data.

        Examples
        --------
        >>> import numpy as np
        >>> Moments.of([np.array([1.0, 2.0]), np.array([6.0])]).mean.tolist()
        [3.0]
        >>> Moments.of(np.array([[1.0], [5.0]]), sample_weight=[3, 1]).mean.tolist()
        [2.0]
        """
        keeps = {
            "covariance": flag(covariance, "covariance"),
            "quantiles": flag(quantiles, "quantiles"),
        }
        return cast(Moments, _reduced(data, mask, sample_weight, axis=axis, **keeps))

    def to_json(self) -> str:
        """Everything, exactly, as text."""
        return saved.to_json(self)

    @staticmethod
    def from_json(text: str | bytes) -> Moments:
        """Read what `to_json` wrote.

        Raises
        ------
        DataError
            When it is damaged, or of another version.
        """
        if not isinstance(text, str | bytes):
            raise refused("text", text, "what Moments.to_json gave, as str or bytes")
        return saved.from_json(text)


def _reduced(data: Any, mask: Any, sample_weight: Any, *, axis: Any, **options: bool) -> ColumnMoments:
    if sample_weight is not None:
        return reduce_weighted(data, sample_weight, axis=axis, mask=mask, **options)
    entries = entries_of(data)
    if entries is not None:
        check_axis(axis, mask, entries)
        return reduce_sparse(entries, **options)
    axis = axis_for(data, axis)
    if mask is not None:
        return reduce_batch(as_array(data), axis=axis, mask=mask, **options)
    on_device = reduce_on_device(data, axis=axis, **options)
    if on_device is not None:
        return on_device
    reduction = Reduction(axis=axis, **options)
    with closing(batches(data)) as read:
        for batch in read:
            reduction.add(batch)
    return reduction.moments()
