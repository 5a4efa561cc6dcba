"""A fitted normalizer on new data: does it fit, and then the arithmetic, in float64 whatever the dtype of the data.

The result is rounded to that dtype at the end. Integers become float32; float64 where some columns pass unchanged
and float32 does not hold every integer of their dtype.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.batches import as_array, column_names, is_tensor
from ..data.column_names import listed
from ..data.frames import Column, Table, as_table
from ..errors import DataError
from ..lazy import lazy
from ..moments.engines import engine_of
from ..moments.sparse import SparseEntries, canonical, entries_of
from .affine import AffineMap, affine_map, spread

normalize_jax = lazy("wellposed.normalize.jax")
torch_tensors = lazy("wellposed.runtime.torch.tensors")
torch_transform = lazy("wellposed.normalize.torch.transform")

if TYPE_CHECKING:
    from .fitted import FittedTransform

_CHUNK = 1 << 20  # entries: what is held in float64 at a time

Floats = NDArray[np.float64]


def apply(n: FittedTransform, x: Any, *, inverse: bool) -> Any:
    """`x` normalised, or brought back; the same kind of array, tensor or table."""
    table = as_table(x)
    if table is not None:
        return _on_table(n, table, inverse=inverse)
    _refuse_rows_elsewhere(x)
    names = column_names(x)
    if names is not None:
        _check_columns(n, names, table=False)
    entries = None if isinstance(x, tuple) else entries_of(x, "x")
    if entries is not None:
        return _on_sparse(n, x, entries, inverse=inverse)
    if is_tensor(x):
        return _on_tensor(n, x, inverse=inverse)
    if type(x).__module__.partition(".")[0] in ("jax", "jaxlib"):
        return _on_jax(n, x, inverse=inverse)
    return _on_array(n, as_array(x, "x"), inverse=inverse)


_ELSEWHERE = {
    "dask": "use x.map_partitions(n), of an array x.map_blocks(n, dtype=float)",
    "spark": "use x.createOrReplaceTempView('x') and spark.sql(n.to_sql('x', dialect='spark'))",
    "ray": "use x.map_batches(n, batch_format='pandas')",
}


def _refuse_rows_elsewhere(x: Any) -> None:
    if type(x).__name__ == "LazyFrame":
        raise DataError("x is a LazyFrame, which has no rows yet: use x.with_columns(n.to_polars())")
    engine = None if isinstance(x, tuple | list) else engine_of(x)
    if engine is not None:
        raise DataError(
            f"x is a {type(x).__name__} of {engine}, whose rows are not in this process: {_ELSEWHERE[engine]}"
        )


def check_shape(n: FittedTransform, shape: tuple[int, ...]) -> None:
    """Refuse what is neither samples nor one sample of the form of the training data."""
    dropped = n.ndim - len(shape)
    if dropped not in (0, 1) or (dropped == 1 and n.ndim == 1):
        raise DataError(
            f"x has {len(shape)} dimensions, the normalizer was fitted on {n.ndim}: "
            f"expected {'samples' if n.ndim == 1 else 'samples, or one sample'} of the training data's form"
        )
    for axis, size in zip(n.axis, n.mean.shape, strict=False):
        if shape[axis - dropped] != size:
            raise DataError(
                f"x has {shape[axis - dropped]} columns along axis {axis - dropped}, "
                f"the normalizer has {size}: expected the columns it was fitted on"
            )


def _check_columns(n: FittedTransform, given: Sequence[str], *, table: bool) -> None:
    """In a table, columns that are not normalised may be absent; in an array every column has its place."""
    if n.names is None:
        if table and (n.ndim != 2 or (n.axis and len(given) != n.mean.size)):
            expected = f"{n.mean.size} columns" if n.ndim == 2 else f"arrays of {n.ndim} dimensions"
            raise DataError(f"x is a table of {len(given)} columns: the normalizer was fitted on {expected}")
        return
    known = {*n.names, *n.left_alone} if table else {*n.names}
    there = set(given)
    needed = [name for i, name in enumerate(n.names) if not table or n.selected.flat[i]]
    lacking = [name for name in needed if name not in there]
    extra = [name for name in given if name not in known]
    shared = set(given) & set(n.names)
    moved = [x for x in given if x in shared] != [x for x in n.names if x in shared]
    if lacking or extra or moved:
        what = [f"{word} {listed(names)}" for word, names in (("lacks", lacking), ("adds", extra)) if names]
        raise DataError(
            "x has other columns than the normalizer: it "
            f"{' and '.join(what) or 'has them in another order'}; expected {listed(n.names, most=8)}"
        )


def _on_array(n: FittedTransform, x: NDArray[Any], *, inverse: bool) -> NDArray[Any]:
    check_shape(n, x.shape)
    affine = affine_map(n)
    out = np.empty(x.shape, dtype=_becomes(n, x.dtype))
    passing = spread(n, ~n.selected) if _may_lose(n, x.dtype) else None
    # One sample, and statistics that differ along the first axis, are taken at once.
    rows = len(x) if x.ndim < n.ndim else max(1, _CHUNK // max(1, x[:1].size))
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        for start in range(0, len(x), max(rows, 1)):
            work = x[start : start + rows].astype(np.float64)
            if passing is not None:
                _check_held(np.abs(work).max(where=passing, initial=0.0), "float64")
            out[start : start + rows] = _worked(n, affine, work, inverse=inverse)
    return out


def _becomes(n: FittedTransform, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Of the dtype and never of the values, so that every batch gives the same."""
    if dtype.kind == "f":
        return dtype
    return np.dtype(np.float32) if n.selected.all() else np.result_type(dtype, np.float32)


def _may_lose(n: FittedTransform, dtype: np.dtype[Any]) -> bool:
    """Whether integers pass unchanged that float64 may not hold."""
    return dtype.kind in "iu" and dtype.itemsize == 8 and not n.selected.all()


def _check_held(largest: float, becomes: str) -> None:
    """Refuse integers that pass unchanged, where `becomes` (float32 or float64) rounds ones of their size."""
    bits = 53 if becomes.endswith("64") else 24
    if largest >= 1 << bits:
        raise DataError(
            f"x has integers of 2**{bits} or more in columns that pass unchanged, and becomes {becomes}, which "
            "rounds them: pass a table, whose other columns stay as they are, or leave these columns out"
        )


def _worked(n: FittedTransform, affine: AffineMap, work: Floats, *, inverse: bool) -> Floats:
    """In place: ``(work - center) / scale + offset``, then the rotation and the bounds; or the way back."""
    if inverse:
        _rotate(n, work, n.unrotation)
        if affine.offset is not None:
            work -= affine.offset
        work *= affine.scale
        work += affine.center
    else:
        work -= affine.center
        work /= affine.scale
        if affine.offset is not None:
            work += affine.offset
        _rotate(n, work, n.rotation)
        if affine.least is not None:
            np.clip(work, affine.least, affine.most, out=work)
    return work


def _rotate(n: FittedTransform, work: Any, rotation: Floats | None) -> None:
    """Mix the columns that are mixed, so that a missing entry elsewhere spoils nothing."""
    if rotation is None or not n.mixed.any():
        return
    columns = np.flatnonzero(n.mixed).tolist()
    block = rotation[np.ix_(columns, columns)]
    last = np.moveaxis(work, n.axis[0] - n.ndim, -1)
    last[..., columns] = last[..., columns] @ block


def _on_sparse(n: FittedTransform, x: Any, entries: SparseEntries, *, inverse: bool) -> Any:
    """The stored entries alone: no zero is filled in, and the format stays."""
    if not n.keeps_zeros:
        does = (
            "subtracts"
            if n.center.any() or n.offset is not None or n.rotation is not None
            else "clips to bounds without 0"
        )
        raise DataError(
            f"x is a sparse {entries.kind}, and the normalizer {does}, which would fill its zeros: expected "
            f"{entries.dense}, or a normalizer that is fitted with method='maxabs' or with_centering=False"
        )
    if n.ndim != 2:
        raise DataError(f"x is a sparse {entries.kind}, the normalizer was fitted on {n.ndim} dimensions")
    check_shape(n, entries.shape)
    dtype = _becomes(n, entries.values.dtype)
    scale, selected = (_by_entry(n, v, entries) for v in (n.scale, n.selected))
    if _may_lose(n, entries.values.dtype):
        wide = np.abs(entries.values.astype(np.float64))
        _check_held(wide.max(where=~selected, initial=0.0), "float64")
    bounds = None if inverse or n.bounds is None else tuple(_by_entry(n, v, entries) for v in n.bounds)
    if is_tensor(x):
        return torch_transform.scaled_sparse(x, scale, bounds, dtype.name, inverse=inverse)
    with np.errstate(over="ignore", under="ignore"):
        work = entries.values.astype(np.float64)
        work = work * scale if inverse else work / scale
        work = work if bounds is None else np.clip(work, *bounds)
        made = canonical(x).copy()
        made.data = work.astype(dtype)
    return made.asformat(x.format)


def _by_entry(n: FittedTransform, values: NDArray[Any], entries: SparseEntries) -> NDArray[Any]:
    """The value of the column that each stored entry is in."""
    return np.broadcast_to(spread(n, values), entries.shape[1])[entries.column]


def _on_tensor(n: FittedTransform, x: Any, *, inverse: bool) -> Any:
    if x.is_complex():
        raise DataError(f"x has dtype {x.dtype}: expected real numbers")
    torch_tensors.refuse_unless_plain(x)
    check_shape(n, tuple(x.shape))
    affine = affine_map(n)
    out = _worked_tensor(n, affine, _widened(n, x), inverse=inverse)
    return out if inverse or affine.least is None else torch_transform.clipped(out, affine.least, affine.most)


def _worked_tensor(n: FittedTransform, affine: AffineMap, x: Any, *, inverse: bool) -> Any:
    if n.rotation is None or not n.mixed.any():
        return torch_transform.scaled(x, affine, inverse=inverse)
    wide = _in_widest(x)
    if inverse:
        out = torch_transform.scaled(_rotated_tensor(n, wide, n.unrotation), affine, inverse=True)
    else:
        out = _rotated_tensor(n, torch_transform.scaled(wide, affine, inverse=False), n.rotation)
    return out.to(x.dtype) if x.is_floating_point() else out.float()


def _widened(n: FittedTransform, x: Any) -> Any:
    """Integers in the dtype that they become, where some pass unchanged that float32 may not hold."""
    if x.is_floating_point() or x.dtype.itemsize <= 2 or n.selected.all():
        return x
    wide = _in_widest(x)
    passing = spread(n, (~n.selected).astype(np.float64))
    if x.numel() and (x.dtype.itemsize == 8 or wide.dtype.itemsize < 8):
        _check_held(float((wide * wide.new_tensor(passing)).abs().max()), str(wide.dtype))
    return wide


def _in_widest(x: Any) -> Any:
    return x.float() if x.device.type in torch_tensors.WITHOUT_FLOAT64 else x.double()


def _on_jax(n: FittedTransform, x: Any, *, inverse: bool) -> Any:
    check_shape(n, x.shape)
    x = _widened_by_jax(n, x)
    if not inverse:
        return normalize_jax.to_jax(n)(x)
    return sys.modules["jax"].numpy.asarray(_on_array(n, as_array(x, "x"), inverse=True))


def _widened_by_jax(n: FittedTransform, x: Any) -> Any:
    """The same; while it is traced an array has no values to check."""
    if x.dtype.kind not in "iu" or x.dtype.itemsize <= 2 or n.selected.all():
        return x
    wide = x.astype(float)  # float32 unless 64-bit mode is on
    if not isinstance(x, sys.modules["jax"].core.Tracer):
        passing = spread(n, ~n.selected)
        _check_held(np.abs(np.asarray(wide)).max(where=passing, initial=0.0), str(wide.dtype))
    return wide


def _rotated_tensor(n: FittedTransform, wide: Any, rotation: Any) -> Any:
    columns = np.flatnonzero(n.mixed).tolist()
    out = wide.movedim(n.axis[0] - n.ndim, -1).clone()
    out[..., columns] = out[..., columns] @ wide.new_tensor(rotation[np.ix_(columns, columns)])
    return out.movedim(-1, n.axis[0] - n.ndim)


def _on_table(n: FittedTransform, table: Table, *, inverse: bool) -> Any:
    _check_columns(n, table.names, table=True)
    names = n.names or table.names
    everything = not n.axis  # one center and scale for all
    chosen = [
        (name, 0 if everything else i)
        for i, name in enumerate(names)
        if n.selected.flat[0 if everything else i]
    ]
    columns = {name: table.numbers(name) for name, _ in chosen}
    places = [i for _, i in chosen]
    if n.rotation is None:
        offset = 0.0 if n.feature_range is None else n.feature_range[0]
        worked = {
            name: _alone(n, columns[name], n.center.flat[i], n.scale.flat[i], offset, inverse=inverse)
            for name, i in chosen
        }
    else:
        worked = _together(n, columns, places, inverse=inverse)
    return table.replaced(
        {name: columns[name]._replace(values=z.astype(columns[name].floating)) for name, z in worked.items()}
    )


def _alone(
    n: FittedTransform, column: Column, center: float, scale: float, offset: float, *, inverse: bool
) -> Floats:
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        work = column.values.astype(np.float64)
        if inverse:
            return (work - offset) * scale + center
        z = (work - center) / scale
        z = z + offset if offset else z
    return z if n.clip is None else np.clip(z, *n.clip)


def _together(
    n: FittedTransform, columns: dict[str, Column], places: list[int], *, inverse: bool
) -> dict[str, Floats]:
    """All columns as one matrix, since a rotation mixes them."""
    rows = len(next(iter(columns.values())).values) if columns else 0
    work = np.zeros((rows, n.mean.size))
    for i, column in zip(places, columns.values(), strict=True):
        work[:, i] = column.values
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        _worked(n, affine_map(n), work, inverse=inverse)
    return {name: work[:, i] for name, i in zip(columns, places, strict=True)}
