"""Statistics of the training data, fitted once and applied unchanged to everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import LeakageError
from ..lazy import lazy
from ..shown import Shown
from .fitted import FittedTransform

applying = lazy("wellposed.normalize._apply")
fitting = lazy("wellposed.normalize._fit")
given = lazy("wellposed.normalize.given")
normalize_drift = lazy("wellposed.normalize.drift")
normalize_jax = lazy("wellposed.normalize.jax")
onnx_export = lazy("wellposed.normalize.export.onnx")
polars_export = lazy("wellposed.normalize.export.polars")
saved = lazy("wellposed.normalize.saved")
sklearn_export = lazy("wellposed.normalize.export.sklearn")
sql_export = lazy("wellposed.normalize.export.sql")
torch_fold = lazy("wellposed.normalize.torch.fold")
torch_transform = lazy("wellposed.normalize.torch.transform")

if TYPE_CHECKING:
    from ..data.source import Progress
    from ..moments.resume import Checkpoint
    from .drift import Drift

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Path = str | PathLike[str]
T = TypeVar("T")


def _refuse_second_fit(*_: Any, **__: Any) -> Any:
    raise LeakageError(
        "this normalizer is fitted, and its statistics do not change: held-out data get the training "
        "statistics; for other training data make another one with Normalizer.fit(train)"
    )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Normalizer(FittedTransform, Shown):
    """Training statistics that map each column to an even scale, and remember where they came from.

    Made by `Normalizer.fit`, `Normalizer.from_statistics` or `Normalizer.load`. It never changes. It maps ``z = (x - center) / scale``,
    adds `offset`, then ``z @ rotation`` where the method whitens, and then clips where that was asked for. Constant columns are centred and keep their scale
    (they are divided by 1, not by their rounding noise). NaN stays NaN.

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

    def __post_init__(self) -> None:
        super().__post_init__()
        # Called on an instance, `fit` would look like a second fit.
        object.__setattr__(self, "fit", _refuse_second_fit)

    @classmethod
    def fit(
        cls,
        train: Any,
        *,
        method: str = "standard",
        clip: bool | tuple[float, float] = False,
        feature_range: tuple[float, float] | None = None,
        quantile_range: tuple[float, float] | None = None,
        with_centering: bool = True,
        with_scaling: bool = True,
        of: str = "inputs",
        columns: Sequence[str] | Sequence[int] | None = None,
        axis: int | tuple[int, ...] | None = None,
        mask: Any = None,
        sample_weight: Any = None,
        engine: str | None = None,
        split: str | None = None,
        source: str | None = None,
        checkpoint: Path | Checkpoint | None = None,
        progress: Progress | None = None,
    ) -> Normalizer:
        """Fit on training data, and on nothing else.

        Parameters
        ----------
        train
            An array, a tensor, ``(inputs, targets)``, a DataLoader, a list or an iterator of batches, which is
            used up: see `Moments.of`; a data frame or anything else that speaks Arrow; a path to a Parquet, CSV,
            NPY or NPZ file, a folder or a pattern
            of them; a Dask, Spark or Ray collection; a sparse matrix of SciPy or torch, for maxabs, or standard
            with ``with_centering=False``: zeros count, and are not filled in.
        method
            - ``"standard"``: the mean, and the population standard deviation.
            - ``"minmax"``: to `feature_range` over the training data.
            - ``"maxabs"``: divided by the largest absolute value; zeros stay zeros.
            - ``"robust"``: the median, and the distance of the quantiles in `quantile_range`.
            - ``"whiten"``, ``"zca"``: standardised, then mixed into uncorrelated columns of variance 1,
              along the principal directions of the correlation, or turned back towards the columns.
              Units do not matter (PCA-cor and ZCA-cor in A. Kessy, A. Lewin and K. Strimmer, Am. Stat. 72,
              2018, section 3). Directions within rounding of nothing become 0; a row with a missing
              entry comes out missing.
        clip
            Two bounds in normalised units, such as ``(-5, 5)``, that the outputs are held within; ``True`` for
            what the training data reach: `feature_range` of minmax, -1 … 1 of maxabs. Missing entries stay
            missing, infinite ones become a bound; `inverse` gives back what was not clipped.
        feature_range
            Of minmax: where the smallest and the largest training value go; by default ``(0, 1)``. A constant
            column goes to the lower end.
        quantile_range
            Of robust, in percent: the quantiles whose distance is the scale; by default ``(25, 75)``.
        with_centering, with_scaling
            Of standard and robust: False leaves the subtraction, or the division, out.
        of
            ``"inputs"``, or ``"targets"`` to fit the second part of pairs and batches.
        columns
            Names or numbers of the columns to normalise; the others pass unchanged. By default all columns
            of numbers, save integers in a table that are codes: those that span fewer than 16 values, and
            row numbers. Names that are as many as the columns of an unnamed array name its columns.
        axis
            The axes that keep their own statistics; see `Moments.of`. Without it, what the axes of images and
            sequences were taken for stands in `remarks`.
        mask
            Booleans over the leading axes of an array, such as ``(N, T)`` for ``(N, T, F)``: True counts.
        sample_weight
            Of an array, tensor or sparse matrix: a whole number a row, how often it counts; the bits are those of
            rows that are repeated so often. Multiply fractions by one number and round them: means, stds, extremes
            and covariances depend on the ratios alone, to that rounding; quantiles lie between the two nearest
            of the repeated rows, and are exact up to 4,000 different entries a column.
        engine
            ``"dask"``, ``"spark"`` or ``"ray"``, to read files with it; by default what the data belong to.
        split
            What the data are. Only ``"train"`` is accepted. By default the data are asked: a dataset that
            says ``split="test"`` is refused; said here, ``"train"`` is the last word.
        source
            Where the data came from, for the record; by default the path.
        checkpoint
            A file that keeps what is done, so that a fit on files resumes after any end.
        progress
            Called with ``(done_bytes, total_bytes or None, rows)`` as the reading goes on.

        Raises
        ------
        LeakageError
            When `split`, or the data themselves, say that they are held out.
        DataError
            When there are no rows, or a column has no finite entry.
        ArgumentError
            When an argument has a value that it cannot take.

        Examples
        --------
        >>> import numpy as np
        >>> Normalizer.fit(np.array([0.0, 5.0, 10.0]), method="minmax")(np.array([2.5])).tolist()
        [0.25]
        >>> n = Normalizer.fit(np.array([0.0, 5.0, 10.0]), method="minmax", feature_range=(-1, 1), clip=True)
        >>> n(np.array([2.5, 99.0])).tolist()
        [-0.5, 1.0]
        >>> inputs, targets = np.ones((2, 3)), np.array([10.0, 30.0])
        >>> Normalizer.fit((inputs, targets), of="targets").mean.tolist()
        [20.0]
        """
        return fitting.fit(
            train,
            method=method,
            clip=clip,
            feature_range=feature_range,
            quantile_range=quantile_range,
            with_centering=with_centering,
            with_scaling=with_scaling,
            of=of,
            columns=columns,
            axis=axis,
            mask=mask,
            sample_weight=sample_weight,
            engine=engine,
            split=split,
            source=source,
            checkpoint=checkpoint,
            progress=progress,
        )

    @classmethod
    def from_statistics(
        cls,
        *,
        mean: Any,
        variance: Any = None,
        std: Any = None,
        names: Sequence[str] | None = None,
        ndim: int | None = None,
        axis: int | tuple[int, ...] | None = None,
        clip: bool | tuple[float, float] = False,
        source: str | None = None,
    ) -> Normalizer:
        """A normalizer of statistics that are known: published ones, or those of another library.

        Parameters
        ----------
        mean
            One number a column or channel, ``(columns,)``; a single number for all entries; or of the shape of
            several kept axes.
        variance, std
            The same for the population variance, or for the standard deviation: one of the two.
        names
            Of the columns of a table.
        ndim
            Dimensions of the data, samples included; by default one more than those of `mean`, so 2 for a table.
        axis
            The axes that the numbers are of; by default as in `fit`: axis 1 of ``(N, C, H, W)``.
        clip
            See `fit`.
        source
            Where the statistics came from, for the record.

        Raises
        ------
        ArgumentError
            When the shapes do not agree, a variance is not above 0, or a number is not finite.

        Examples
        --------
        >>> import numpy as np
        >>> n = Normalizer.from_statistics(mean=[1.0, 10.0], variance=[4.0, 100.0])
        >>> n(np.array([[3.0, 0.0]])).tolist()
        [[1.0, -1.0]]
        >>> imagenet = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
        >>> Normalizer.from_statistics(**imagenet, ndim=4)(np.zeros((2, 3, 8, 8))).shape
        (2, 3, 8, 8)
        """
        return given.from_statistics(
            mean=mean,
            variance=variance,
            std=std,
            names=names,
            ndim=ndim,
            axis=axis,
            clip=clip,
            source=source,
        )

    def __call__(self, x: T) -> T:
        """Normalise `x`: same type, dtype and device; integers give float32 or float64.

        Parameters
        ----------
        x
            An array or tensor shaped like the training data, with any number of samples, or one sample; a
            data frame of pandas, polars or pyarrow, whose other columns stay as they are; a sparse matrix, where
            zeros stay zeros (`keeps_zeros`). Other columns,
            another order or number of them, or anything but real numbers is a `DataError`.

        Examples
        --------
        >>> import numpy as np
        >>> n = Normalizer.fit(np.array([[1.0], [3.0]]))
        >>> n(np.array([[5], [2]])).dtype, n(np.array([9.0])).tolist()
        (dtype('float32'), [7.0])
        """
        return applying.apply(self, x, inverse=False)

    def inverse(self, z: T) -> T:
        """Undo the normalisation, to rounding; what was clipped or dropped by whitening does not come back.

        Examples
        --------
        >>> import numpy as np
        >>> Normalizer.fit(np.array([[1.0], [3.0]])).inverse(np.array([[0.0]])).tolist()
        [[2.0]]
        """
        return applying.apply(self, z, inverse=True)

    def save(self, path: Path, *, force: bool = False) -> None:
        """Write JSON whole or not at all, exactly; unless `force`, nothing is replaced but an older normalizer."""
        saved.save(self, path, force=force)

    @staticmethod
    def load(path: Path) -> Normalizer:
        """Read what `save` wrote.

        Raises
        ------
        ArtifactError
            When the file is not there, truncated, of another version, or holds what `save` would not write.
        """
        return saved.load(path)

    def drift(self, data: Any) -> Drift:
        """Compare new data with the training data: which columns moved, and by more than noise.

        Examples
        --------
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> n = Normalizer.fit(rng.normal(size=(500, 2)))
        >>> n.drift(rng.normal(size=(500, 2))).ok, n.drift(rng.normal(size=(500, 2)) + 3).ok
        (True, False)
        """
        return normalize_drift.measure_drift(self, data)

    def to_torch(self) -> Any:
        """A ``torch.nn.Module`` that normalises its input; its statistics are saved in the state dict.

        Examples
        --------
        >>> import torch
        >>> Normalizer.fit(torch.tensor([[1.0], [3.0]])).to_torch()(torch.tensor([[5.0]])).tolist()
        [[3.0]]
        """
        return torch_transform.to_torch(self)

    def fold_into(self, model: Any, *, input: str | None = None, example: Any = None) -> Any:
        """A copy of the model, or of a layer, that takes raw inputs instead of normalised ones.

        Parameters
        ----------
        model
            A linear layer or a convolution, or a model whose first layer is one. It is not changed.
        input
            Which input, by the name of the model's parameter, where the model takes several.
        example
            Raw inputs that the model is tried on too; needed where sizes or other inputs cannot be guessed.

        Raises
        ------
        ArgumentError
            When any trial, over the training range and far beyond, is not the same function to rounding, or
            anything but layers that fold and moves of entries is given raw inputs; with the layer and the
            reason.

        Examples
        --------
        >>> import torch
        >>> x = torch.tensor([[1.0], [3.0]])
        >>> n, layer = Normalizer.fit(x), torch.nn.Linear(1, 1)
        >>> torch.allclose(n.fold_into(layer)(x), layer(n(x)), atol=1e-6)
        True
        """
        return torch_fold.fold_into(self, model, input=input, example=example)

    def to_sklearn(self) -> Any:
        """A fitted scikit-learn transformer, for pipelines; fitting them learns nothing anew.

        Cross-validation needs an unfitted ``NormalizerTransformer(method=...)`` of
        `wellposed.normalize.export.sklearn` instead, as these statistics would have seen the held-out folds.
        Columns that are left alone go around it, in a ``ColumnTransformer`` with ``remainder="passthrough"``.

        Examples
        --------
        >>> import numpy as np
        >>> Normalizer.fit(np.array([[1.0], [3.0]])).to_sklearn().transform(np.array([[5.0]])).tolist()
        [[3.0]]
        """
        return sklearn_export.to_sklearn(self)

    def to_jax(self) -> Any:
        """A function of a JAX array that may be jitted, mapped and differentiated.

        Examples
        --------
        >>> import numpy as np
        >>> Normalizer.fit(np.array([[1.0], [3.0]])).to_jax()(np.array([[5.0]], dtype="f4")).tolist()
        [[3.0]]
        """
        return normalize_jax.to_jax(self)

    def to_onnx(self, path: Path | None = None, *, dtype: str = "float32", force: bool = False) -> Any:
        """An ONNX model that normalises batches of any size; see `save` for `path` and `force`.

        Examples
        --------
        >>> import numpy as np
        >>> type(Normalizer.fit(np.array([[1.0], [3.0]])).to_onnx()).__name__
        'ModelProto'
        """
        return onnx_export.to_onnx(self, path, dtype=dtype, force=force)

    def to_sql(self, table: str | Sequence[str] = "data", *, dialect: str = "duckdb") -> str:
        """A SELECT statement that normalises the columns of a table by name.

        Examples
        --------
        >>> import numpy as np
        >>> n = Normalizer.fit(np.array([[1.0], [3.0]]), columns=["height"])
        >>> "height" in n.to_sql("people")
        True
        """
        return sql_export.to_sql(self, table, dialect=dialect)

    def to_polars(self) -> list[Any]:
        """Expressions for ``frame.with_columns(...)``, also of a LazyFrame.

        Examples
        --------
        >>> import numpy as np, polars
        >>> n = Normalizer.fit(np.array([[1.0], [3.0]]), columns=["height"])
        >>> polars.DataFrame({"height": [5.0]}).with_columns(n.to_polars()).to_dicts()
        [{'height': 3.0}]
        """
        return polars_export.to_polars(self)

    def __repr__(self) -> str:
        return f"Normalizer(method={self.method!r}, columns={self.mean.size}, rows={self.provenance.rows})"
