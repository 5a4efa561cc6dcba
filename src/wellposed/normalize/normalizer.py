"""Statistics of the training data, fitted once and applied unchanged to everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from os import PathLike
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, DataError, LeakageError
from .batches import as_array, batches, column_names, is_tensor
from .doubledouble import Floats
from .moments import Counts, Moments
from .provenance import Fingerprint, Provenance
from .reduction import kept_axes, reduce_batch

METHODS = ("standard",)
_HELD_OUT = frozenset({"validation", "val", "valid", "dev", "test", "testing", "holdout", "held-out", "eval"})
_CHUNK = 1 << 20

T = TypeVar("T")


def _refuse_second_fit(*_: Any, **__: Any) -> Any:
    raise LeakageError(
        "this normalizer is fitted, and its statistics do not change: held-out data get the training "
        "statistics; for other training data make another one with Normalizer.fit(train)"
    )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Normalizer:
    """Training statistics that map each column to mean 0 and std 1, and remember where they came from.

    Made by `Normalizer.fit` or `Normalizer.load`. It never changes. Constant columns are centred and keep
    their scale (they are divided by 1, not by their rounding noise). NaN stays NaN.

    Examples
    --------
    >>> import numpy as np
    >>> train = np.array([[1.0, 100.0], [3.0, 300.0]])
    >>> n = Normalizer.fit(train)
    >>> n(train).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    >>> n.inverse(n(train)).tolist() == train.tolist()
    True
    """

    method: str
    names: tuple[str, ...] | None
    """Names of the columns, when the data had them."""
    ndim: int
    """Dimensions of the training data, the sample axis included."""
    axis: tuple[int, ...]
    """The axes that keep their own statistics; empty when there is one for everything."""
    mean: Floats
    std: Floats
    """Population standard deviation."""
    minimum: Floats
    maximum: Floats
    missing: Counts
    infinite: Counts
    constant: NDArray[np.bool_]
    """Columns whose spread is below the rounding of what was stored."""
    selected: NDArray[np.bool_]
    """Columns that are normalised; the others pass unchanged."""
    provenance: Provenance

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
        # Called on an instance, `fit` would look like a second fit.
        object.__setattr__(self, "fit", _refuse_second_fit)

    @classmethod
    def fit(
        cls,
        train: Any,
        *,
        method: str = "standard",
        columns: Sequence[str] | Sequence[int] | None = None,
        axis: int | tuple[int, ...] | None = None,
        mask: Any = None,
        engine: str | None = None,
        split: str = "train",
        source: str | None = None,
    ) -> Normalizer:
        """Fit on training data, and on nothing else.

        Parameters
        ----------
        train
            Anything that `Moments.of` reads: an array, a tensor, ``(inputs, targets)``, a DataLoader, a list
            of batches.
        method
            ``"standard"``: subtract the mean, divide by the population standard deviation.
        columns
            Names or numbers of the columns to normalise; the others pass unchanged. By default all of them.
            Names that are as many as the columns of an unnamed array name its columns.
        axis
            The axes that keep their own statistics; see `Moments.of`.
        split
            What the data are. Only ``"train"`` is accepted.
        source
            Where the data came from, for the record.

        Raises
        ------
        LeakageError
            When `split` says that the data are held out.
        DataError
            When there are no rows, or a column has no finite entry.
        ArgumentError
            When an argument has a value that it cannot take.
        """
        _check_arguments(method=method, mask=mask, engine=engine, split=split)
        moments, fingerprint, ndim = _read(train, axis)
        width = moments.count.size
        names, selected = _select(columns, column_names(train), width)
        _check_readable(moments, names, selected)
        filled = moments.count > 0
        return cls(
            method=method,
            names=names,
            ndim=ndim,
            axis=kept_axes(ndim, axis),
            mean=np.where(filled, moments.mean, 0.0),
            std=np.where(filled, moments.std, 0.0),
            minimum=np.where(filled, moments.minimum, 0.0),
            maximum=np.where(filled, moments.maximum, 0.0),
            missing=moments.missing,
            infinite=moments.infinite,
            constant=moments.constant | ~filled,
            selected=selected.reshape(moments.shape),
            provenance=_provenance(moments.rows, source, fingerprint),
        )

    @property
    def center(self) -> Floats:
        """What is subtracted from each column."""
        return np.where(self.selected, self.mean, 0.0)

    @property
    def scale(self) -> Floats:
        """What each column is divided by: its std, or 1 where it is constant or not selected."""
        return np.where(self.selected & ~self.constant, self.std, 1.0)

    def __call__(self, x: T) -> T:
        """Normalise `x`: same type, dtype and device; integers give float32, a table gives an array.

        Parameters
        ----------
        x
            An array or tensor shaped like the training data, with any number of samples; or one sample.
        """
        return self._apply(x, inverse=False)

    def inverse(self, z: T) -> T:
        """Undo the normalisation: ``n.inverse(n(x))`` is `x` to rounding."""
        return self._apply(z, inverse=True)

    def _apply(self, x: Any, *, inverse: bool) -> Any:
        self._check_names(x)
        if not is_tensor(x):
            x = as_array(x, "x")
        center, scale = (self._spread_over(v, x.shape) for v in (self.center, self.scale))
        if is_tensor(x):
            from ..frameworks.torch.arrays import affine

            return affine(x, center, scale, inverse=inverse)
        return _affine(x, center, scale, inverse=inverse)

    def _check_names(self, x: Any) -> None:
        found = column_names(x)
        if found is None or self.names is None or found == self.names:
            return
        lacking, extra = ([n for n in a if n not in b] for a, b in ((self.names, found), (found, self.names)))
        what = [f"{word} {', '.join(c[:5])}" for word, c in (("lacks", lacking), ("adds", extra)) if c]
        raise DataError(
            "x has other columns than the normalizer: it "
            f"{' and '.join(what) or 'has them in another order'}; "
            f"expected {', '.join(self.names[:8])}{', ...' if len(self.names) > 8 else ''}"
        )

    def _spread_over(self, values: Floats, shape: tuple[int, ...]) -> Floats:
        """The values in a shape that broadcasts against an array of `shape`: samples, or one sample."""
        dropped = self.ndim - len(shape)
        if dropped not in (0, 1) or (dropped == 1 and self.ndim == 1):
            raise DataError(
                f"x has {len(shape)} dimensions, the normalizer was fitted on {self.ndim}: "
                f"expected {'samples' if self.ndim == 1 else 'samples, or one sample'} of the training "
                "data's form"
            )
        full = [1] * self.ndim
        for axis, size in zip(self.axis, self.mean.shape, strict=False):
            full[axis] = size
            if shape[axis - dropped] != size:
                raise DataError(
                    f"x has {shape[axis - dropped]} columns along axis {axis - dropped}, "
                    f"the normalizer has {size}: expected the columns it was fitted on"
                )
        return values.reshape(full[dropped:])

    def save(self, path: str | PathLike[str]) -> None:
        """Write a JSON file, whole or not at all; the numbers round-trip exactly."""
        from .artifact import save

        save(self, path)

    @staticmethod
    def load(path: str | PathLike[str]) -> Normalizer:
        """Read what `save` wrote.

        Raises
        ------
        ArtifactError
            When the file is not there, truncated, of another version, or holds anything that `save` would not
            write.
        """
        from .artifact import load

        return load(path)

    def to_torch(self) -> Any:
        """A ``torch.nn.Module`` that normalises its input; its statistics are saved in the state dict.

        The statistics stay in float64 when the module is cast to a narrower type; its output has the input's
        dtype.
        """
        from ..frameworks.torch.arrays import Standardize

        sample = self.ndim == 1
        shape = [1] * max(self.ndim - 1, 1)
        for axis, size in zip(self.axis, self.mean.shape, strict=False):
            shape[axis - (0 if sample else 1)] = size
        return Standardize(self.center.reshape(shape), self.scale.reshape(shape))

    def fold_into(self, model: Any) -> Any:
        """A new linear layer, or a copy of the model, that takes raw inputs instead of normalised ones.

        Parameters
        ----------
        model
            A ``torch.nn.Linear``, or a model whose first layer is one. It is not changed.

        Raises
        ------
        ArgumentError
            When that is not exact: the first layer is no ``nn.Linear``, or the model uses its inputs
            elsewhere too.
        """
        from ..frameworks.torch.arrays import fold_into

        if self.axis != (self.ndim - 1,):
            raise ArgumentError(
                f"the normalizer keeps axis {self.axis} of {self.ndim}: a linear layer needs statistics of "
                "the last axis"
            )
        return fold_into(model, self.center, self.scale)

    def label(self, column: int) -> str:
        """The name of a column, or its number."""
        return self.names[column] if self.names else str(column)

    def __repr__(self) -> str:
        return f"Normalizer(method={self.method!r}, columns={self.mean.size}, rows={self.provenance.rows})"

    def __str__(self) -> str:
        from .describe import describe

        return describe(self)


def _check_arguments(*, method: str, mask: Any, engine: str | None, split: str) -> None:
    if method not in METHODS:
        raise ArgumentError(f"method={method!r} is not known: there is {', '.join(map(repr, METHODS))}")
    if mask is not None:
        raise ArgumentError(
            "mask is not supported yet: set masked entries to NaN, which is left out of the statistics"
        )
    if engine is not None:
        raise ArgumentError(
            f"engine={engine!r} is not supported yet: leave it None, which reads in this process"
        )
    if isinstance(split, str) and split.lower() in _HELD_OUT:
        raise LeakageError(
            f"split={split!r}: statistics of held-out data leak it into training; fit on the training split, "
            "and apply that normalizer to the others"
        )
    if split != "train":
        raise ArgumentError(f"split={split!r} is not known: expected 'train'")


def _read(train: Any, axis: int | tuple[int, ...] | None) -> tuple[Moments, str, int]:
    total, content, ndim = Moments.empty(), Fingerprint(), 0
    with closing(batches(train)) as read:
        for batch in read:
            if ndim and batch.ndim != ndim:
                raise DataError(
                    f"batches have {ndim} and {batch.ndim} dimensions: expected the same in every batch"
                )
            ndim = batch.ndim
            total = total | reduce_batch(batch, axis=axis)
            content.update(batch)
    if total.rows == 0:
        raise DataError("the training data have no rows: expected at least one")
    return total, content.hex(), ndim


def _select(
    columns: Sequence[Any] | None, named: tuple[str, ...] | None, width: int
) -> tuple[tuple[str, ...] | None, NDArray[np.bool_]]:
    """Names of the columns, and which are to be normalised."""
    selected = np.zeros(width, dtype=bool)
    if columns is None:
        return named, ~selected
    if isinstance(columns, str) or not isinstance(columns, Sequence | np.ndarray) or len(columns) == 0:
        raise ArgumentError(f"columns={columns!r}: expected a list of names or numbers, at least one")
    wanted = list(columns)
    if len(set(wanted)) < len(wanted):
        raise ArgumentError(f"columns={wanted!r} names a column twice")
    if named is None and len(wanted) == width and all(isinstance(c, str) for c in wanted):
        return tuple(wanted), ~selected
    for column in wanted:
        selected[_index(column, named, width)] = True
    return named, selected


def _index(column: Any, named: tuple[str, ...] | None, width: int) -> int:
    if isinstance(column, str):
        if named is None:
            raise ArgumentError(
                f"columns has the name {column!r}, and the data have none: give numbers from 0 to {width - 1}"
            )
        if column not in named:
            raise ArgumentError(
                f"columns has {column!r}, which is not in the data: there is {', '.join(named[:12])}"
            )
        return named.index(column)
    if isinstance(column, bool) or not isinstance(column, int | np.integer) or not 0 <= column < width:
        raise ArgumentError(f"columns has {column!r}: expected a name, or a number from 0 to {width - 1}")
    return int(column)


def _check_readable(moments: Moments, names: tuple[str, ...] | None, selected: NDArray[np.bool_]) -> None:
    empty = np.flatnonzero((moments.count.ravel() == 0) & selected)
    if empty.size:
        labels = ", ".join(names[i] if names else str(i) for i in empty[:5])
        raise DataError(
            f"column {labels} has no finite entry in {moments.rows} rows: leave it out with columns="
        )


def _provenance(rows: int, source: str | None, fingerprint: str) -> Provenance:
    from .. import __version__

    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Provenance(
        rows=rows, source=source, split="train", fingerprint=fingerprint, version=__version__, created=created
    )


def _affine(x: NDArray[Any], center: Floats, scale: Floats, *, inverse: bool) -> NDArray[Any]:
    """Worked in float64, a chunk of samples at a time, and rounded once."""
    step: Callable[[Any], Any] = (
        (lambda v: v * scale + center) if inverse else (lambda v: (v - center) / scale)
    )
    out = np.empty(x.shape, dtype=x.dtype if x.dtype.kind == "f" else np.float32)
    if x.ndim == 0 or x.size <= _CHUNK or center.ndim < x.ndim or center.shape[0] != 1:
        out[...] = step(x.astype(np.float64, copy=False))
        return out
    rows = max(1, _CHUNK // x[:1].size)
    for start in range(0, len(x), rows):
        out[start : start + rows] = step(x[start : start + rows].astype(np.float64, copy=False))
    return out
