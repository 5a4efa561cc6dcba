"""A normalizer of statistics that are known, instead of data: published ones, or those of another library."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import refused, several, text, told, whole
from ..data.batches import is_tensor
from ..data.column_names import repeated, shown
from ..errors import ArgumentError
from ..lazy import lazy
from ..moments.reduction import kept_axes
from .fitted import FittedTransform, Provenance
from .methods import method_of

torch_tensors = lazy("wellposed.runtime.torch.tensors")

Floats = NDArray[np.float64]

SPLIT = "given"
"""What stands for the split, where no rows were read."""


def from_statistics(
    *,
    mean: Any,
    variance: Any,
    std: Any,
    names: Any,
    ndim: int | None,
    axis: int | tuple[int, ...] | None,
    clip: Any,
    source: str | None,
) -> FittedTransform:
    """See `Normalizer.from_statistics`."""
    center, scale = _numbers(mean, "mean"), _scale(variance, std)
    if center.shape != scale.shape:
        name = "std" if variance is None else "variance"
        raise ArgumentError(
            f"mean has shape {center.shape}, {name} {scale.shape}: expected one number a column in both"
        )
    method = method_of("standard", clip=clip)
    if source is not None:
        text(source, "source", expected="text, or None")
    ndim, kept = _axes(center, ndim, axis)
    columns = center.shape or (1,)
    center, scale = center.reshape(columns), scale.reshape(columns)
    nothing = np.zeros(columns, dtype=np.int64)
    return FittedTransform.made(
        method=method.name,
        clip=method.clip,
        names=_names(names, center.size, is_table=ndim == 2 and kept == (1,)),
        ndim=ndim,
        axis=kept,
        count=nothing,
        mean=center,
        std=scale,
        minimum=center.copy(),
        maximum=center.copy(),
        missing=nothing.copy(),
        infinite=nothing.copy(),
        constant=np.zeros(columns, dtype=bool),
        selected=np.ones(columns, dtype=bool),
        center=center.copy(),
        scale=scale.copy(),
        provenance=_provenance(center, scale, source),
    )


def _numbers(value: Any, name: str) -> Floats:
    expected = "finite real numbers, one a column"
    if np.ma.is_masked(value):
        raise ArgumentError(
            f"{name} has {np.ma.count_masked(value)} masked entries: expected {expected}; what is masked is not known"
        )
    try:
        array = np.asarray(torch_tensors.to_numpy(value, what=name) if is_tensor(value) else value)
    except Exception:  # whatever its own conversion raises
        raise refused(name, value, expected) from None
    if array.dtype.kind not in "iuf":
        raise refused(name, value, expected)
    if array.size == 0:
        raise ArgumentError(f"{name} is empty: expected {expected}")
    numbers = array.astype(np.float64) + 0.0
    wrong = numbers[~np.isfinite(numbers)]
    if wrong.size:
        raise ArgumentError(f"{name} holds {wrong[0]}: expected {expected}")
    return numbers


def _scale(variance: Any, std: Any) -> Floats:
    if (variance is None) == (std is None):
        both = "neither" if variance is None else "both"
        raise ArgumentError(f"variance and std say the same, and {both} of them is given: give one")
    name = "std" if variance is None else "variance"
    numbers = _numbers(std if variance is None else variance, name)
    if not (numbers > 0).all():
        raise ArgumentError(
            f"{name} holds {numbers.min():g}: expected numbers above 0; of a constant column give 1, which leaves its "
            "scale as it is"
        )
    return numbers if variance is None else np.sqrt(numbers)


def _axes(mean: Floats, ndim: int | None, axis: int | tuple[int, ...] | None) -> tuple[int, tuple[int, ...]]:
    """The dimensions of the data, and which of them have statistics of their own."""
    ndim = mean.ndim + 1 if ndim is None else whole(ndim, "ndim", least=1, most=32)
    if axis is None:
        axis = () if mean.ndim == 0 else None if mean.ndim == 1 else tuple(range(1, mean.ndim + 1))
    kept = kept_axes(ndim, axis)
    if len(kept) != mean.ndim:
        raise ArgumentError(
            f"mean has shape {mean.shape}, and data of {ndim} dimensions keep axis {kept}: expected as many axes; "
            "say ndim= of the data, samples included, and axis="
        )
    return ndim, kept


def _names(names: Any, size: int, *, is_table: bool) -> tuple[str, ...] | None:
    if names is None:
        return None
    expected = f"{size} names of columns"
    given = several(names, "names", str, expected=expected)
    if not is_table:
        raise ArgumentError(f"names is {told(names)}, and the data are no table: leave names out")
    if len(given) != size:
        raise ArgumentError(f"names has {len(given)} entries: expected {expected}, one for each of mean")
    if twice := repeated(given):
        raise ArgumentError(f"names has {shown(repr(twice[0]))} twice: expected {expected}")
    return given


def _provenance(mean: Floats, std: Floats, source: str | None) -> Provenance:
    hasher = hashlib.sha256(f"{SPLIT} {mean.shape}".encode())
    for values in (mean, std):
        hasher.update(values.astype("<f8").tobytes())
    return Provenance(rows=0, source=source, split=SPLIT, fingerprint=hasher.hexdigest()[:32])
