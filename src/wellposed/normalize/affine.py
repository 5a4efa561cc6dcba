"""A fitted normalizer as plain arrays that broadcast against one sample: what every framework is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError

Floats = NDArray[np.float64]

_FLOAT32 = np.finfo(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class AffineMap:
    """``z = (x - center) / scale + offset``, then ``z @ rotation`` along the one kept axis, then clipped, where there is that."""

    center: Floats
    """Of the shape of one sample, with 1 along the axes that share their statistics."""
    scale: Floats
    rotation: Floats | None
    """(columns, columns), or None; the identity outside `mixed`."""
    mixed: NDArray[np.bool_]
    """Columns that the rotation mixes; the others pass it untouched, and must not spread their NaN."""
    kept: tuple[int, ...]
    """The axes that have their own statistics, counted from the end of a sample."""

    names: tuple[str, ...] | None = None
    offset: Floats | None = None
    """What is added after the division, of the shape of `center`; None where that is nothing."""
    least: Floats | None = None
    """What the result is held within, of the shape of `center`; infinite for columns that pass unchanged."""
    most: Floats | None = None

    def __post_init__(self) -> None:
        for values in (self.center, self.scale, self.offset, self.rotation, self.least, self.most):
            if values is not None:
                values.setflags(write=False)

    @property
    def zero(self) -> Floats:
        """What becomes 0 before the rotation: the center of the same map with nothing added behind it."""
        return self.center if self.offset is None else self.center - self.offset * self.scale

    @property
    def columns(self) -> int:
        return self.center.size

    @property
    def sizes(self) -> list[int]:
        """Of each axis of samples, the first of which counts them: -1 where any size will do."""
        axes = range(-self.center.ndim, 0)
        return [-1, *(self.center.shape[axis] if axis in self.kept else -1 for axis in axes)]

    def label(self, column: int) -> str:
        """The name of a column, or its number."""
        return repr(self.names[column]) if self.names else str(column)


def affine_map(normalizer: Any) -> AffineMap:
    """The map of a fitted normalizer.

    Parameters
    ----------
    normalizer
        Anything with `center`, `scale`, `offset`, `rotation`, `mixed`, `bounds`, `axis`, `ndim` and `names`, as `wellposed.Normalizer` has.
    """

    def of_sample(values: Any) -> Floats:
        return spread(normalizer, np.asarray(values, dtype=np.float64))

    least, most = (None, None) if normalizer.bounds is None else map(of_sample, normalizer.bounds)
    rotation = None if normalizer.rotation is None else np.asarray(normalizer.rotation, dtype=np.float64)
    return AffineMap(
        center=of_sample(normalizer.center),
        scale=of_sample(normalizer.scale),
        rotation=rotation,
        mixed=np.ravel(normalizer.mixed),
        kept=tuple(axis - normalizer.ndim for axis in normalizer.axis),
        names=normalizer.names,
        offset=None if normalizer.offset is None else of_sample(normalizer.offset),
        least=least,
        most=most,
    )


def spread(normalizer: Any, values: NDArray[Any]) -> NDArray[Any]:
    """One value a column in the shape of a sample, which broadcasts against samples too."""
    shape = [1] * (normalizer.ndim - 1)
    for axis, size in zip(normalizer.axis, np.shape(values), strict=False):
        shape[axis - 1] = size
    return values.reshape(shape)


def misfit(shape: list[int], sizes: list[int]) -> str:
    """What is wrong with the shape of `x`, samples or one sample; empty where nothing is.

    TorchScript compiles it, so it keeps to integers, lists and text.
    """
    ndim = len(sizes)
    dropped = ndim - len(shape)
    if dropped < 0 or dropped > 1:
        return (
            f"x has {len(shape)} dimensions, the normalizer was fitted on {ndim}: "
            + "expected samples, or one sample, of the training data's form"
        )
    for axis in range(dropped, ndim):
        columns, size = shape[axis - dropped], sizes[axis]
        if size >= 0 and columns != size:
            return (
                f"x has {columns} columns along axis {axis - dropped}, the normalizer has {size}: "
                + "expected the columns it was fitted on"
            )
    return ""


def two_parts(values: Floats, *, what: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`values` as the sum of two float32 arrays, to 48 bits: for devices that lack float64.

    ``(x - high) - low`` then loses nothing that float32 could hold: ``x - high`` is exact wherever the two are
    within a factor of two of each other (Sterbenz 1974), which is where cancellation hurts.

    Raises
    ------
    ArgumentError
        When a value is beyond what float32 holds.

    Examples
    --------
    >>> high, low = two_parts(np.array([1e7 + 0.3]), what="the center")
    >>> float(high[0]), round(float(low[0]), 6)
    (10000000.0, 0.3)
    """
    size = np.abs(values)
    beyond = (size > _FLOAT32.max) | ((size < _FLOAT32.tiny) & (size > 0))
    if beyond.any():
        raise ArgumentError(
            f"{what} of column {int(np.flatnonzero(beyond)[0])} is {float(values[beyond][0]):.3g}, which "
            "float32 does not hold: rescale the column, or compute in float64"
        )
    high = values.astype(np.float32)
    return high, (values - high.astype(np.float64)).astype(np.float32)
