"""A normalizer as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from inspect import signature
from typing import Any

import numpy as np

from ...data.batches import is_sparse
from ...data.column_names import listed
from ...errors import ArgumentError, DataError, MissingDependency
from ...moments.column_moments import ReadResult
from ...moments.moments import Moments
from .._apply import apply
from .._fit import normalizer_of
from ..fitted import FittedTransform
from ..methods import OPTIONS, WHITENING, Method, method_of, options_for, refuse_filling

try:
    from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
    from sklearn.utils import check_array
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise MissingDependency(
        "to_sklearn() needs scikit-learn, which is not installed: pip install 'wellposed[sklearn]'"
    ) from error

# scikit-learn's stubs know neither the tuple nor the word.
_FLOATS: Any = (np.float64, np.float32, np.float16)
_ALLOW_NAN: Any = "allow-nan"
_SPARSE: Any = ("csr", "csc")


class NormalizerTransformer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """`wellposed.Normalizer` as a scikit-learn transformer.

    Parameters
    ----------
    method
        See `wellposed.Normalizer.fit`.
    clip, feature_range, quantile_range, with_centering, with_scaling
        See `wellposed.Normalizer.fit`.
    columns
        Names or numbers of the columns to normalise; the others pass unchanged. By default all of them.
    normalizer
        A fitted normalizer, whose statistics are then used as they are: `fit` and `partial_fit` learn nothing.
        Then `method` must be its own and `columns` None, or fitting is an `ArgumentError`.

    Attributes
    ----------
    normalizer_ : wellposed.Normalizer
        The fitted one; ``normalizer_.save(path)`` keeps it without pickle.
    n_samples_seen_ : int
        Rows that it was fitted on.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        When the data had names.

    Notes
    -----
    NaN is left out of the statistics and stays NaN. Batches in `partial_fit` give the bits that `fit` gives on all
    of them, in any order. Sparse data stay sparse where nothing is subtracted, and are refused elsewhere. Whitened columns keep the
    names of their places.

    Examples
    --------
    >>> import numpy as np
    >>> NormalizerTransformer(method="minmax").fit_transform(np.array([[1.0], [2.0], [5.0]])).ravel().tolist()
    [0.0, 0.25, 1.0]
    """

    def __init__(
        self,
        method: str = "standard",
        *,
        clip: bool | tuple[float, float] = False,
        feature_range: tuple[float, float] | None = None,
        quantile_range: tuple[float, float] | None = None,
        with_centering: bool = True,
        with_scaling: bool = True,
        columns: Sequence[str] | Sequence[int] | None = None,
        normalizer: FittedTransform | None = None,
    ) -> None:
        self.method = method
        self.clip = clip
        self.feature_range = feature_range
        self.quantile_range = quantile_range
        self.with_centering = with_centering
        self.with_scaling = with_scaling
        self.columns = columns
        self.normalizer = normalizer

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> NormalizerTransformer:
        """Learn the statistics of `X`, of shape (n_samples, n_features), and nothing else.

        `sample_weight` holds a whole number a row: how often it counts.
        """
        return self._learn(X, sample_weight, first=True)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> NormalizerTransformer:
        """Learn the statistics of `X` and of all batches before it."""
        return self._learn(X, sample_weight, first=not hasattr(self, "normalizer_"))

    def transform(self, X: Any) -> Any:
        """Normalise `X` with the statistics of the training data."""
        check_is_fitted(self)
        chosen = _of_chosen(self.normalizer_, X)
        if chosen is not self.normalizer_:
            return to_sklearn(chosen).transform(X)
        return apply(self.normalizer_, self._validated(X, first=False), inverse=False)

    def inverse_transform(self, X: Any) -> Any:
        """Undo `transform`."""
        check_is_fitted(self)
        z = check_array(X, dtype=_FLOATS, accept_sparse=_SPARSE, ensure_all_finite=_ALLOW_NAN)
        return apply(_of_chosen(self.normalizer_, z), z, inverse=True)

    def _learn(self, X: Any, sample_weight: Any, *, first: bool) -> NormalizerTransformer:
        if self.normalizer is not None:
            self._check_agrees(self.normalizer)
            self._freeze(_of_chosen(self.normalizer, X))
            self._validated(X, first=False)
            return self
        method = self._method()
        _check_sparse(method, X)
        x = self._validated(X, first=first)
        batch = Moments.of(x, sample_weight=sample_weight, **options_for(method.name))
        self._moments = batch if first else self._moments | batch
        names = getattr(self, "feature_names_in_", None)
        self.normalizer_ = normalizer_of(
            ReadResult(moments=self._moments, ndim=2, names=None if names is None else tuple(names)),
            method,
            [*range(x.shape[1])] if self.columns is None else list(self.columns),
            (1,),
        )
        self.n_samples_seen_ = self._moments.rows
        return self

    def _method(self) -> Method:
        return method_of(self.method, **{name: getattr(self, name) for name in OPTIONS})

    def _check_agrees(self, normalizer: FittedTransform) -> None:
        asked = {
            **(
                {"method": self.method}
                if self.method != normalizer.method
                else self._other_options(normalizer)
            ),
            **({"columns": self.columns} if self.columns is not None else {}),
        }
        if asked:
            words = ", ".join(f"{name}={value!r}" for name, value in asked.items())
            raise ArgumentError(
                f"{words} changes nothing beside normalizer=, which is fitted with method={normalizer.method!r} and "
                f"learns nothing: to learn anew, use NormalizerTransformer({words}) without it"
            )

    def _other_options(self, normalizer: FittedTransform) -> dict[str, Any]:
        """The options that were given, and are not those of the normalizer."""
        asked, defaults = self._method(), signature(type(self)).parameters
        return {
            name: getattr(self, name)
            for name in OPTIONS
            if getattr(self, name) is not defaults[name].default
            and getattr(asked, name) != getattr(normalizer, name)
        }

    def _freeze(self, normalizer: FittedTransform) -> None:
        self.normalizer_ = normalizer
        self.n_samples_seen_ = normalizer.provenance.rows
        self.n_features_in_ = normalizer.center.size
        if normalizer.names is not None:
            self.feature_names_in_ = np.array(normalizer.names, dtype=object)

    def _validated(self, X: Any, *, first: bool) -> Any:
        if self.normalizer is not None:
            _refuse_left_alone(X, self.normalizer)
        rows = 2 if first and self.method in WHITENING else 1
        try:
            return validate_data(
                self,
                X,
                reset=first,
                dtype=_FLOATS,
                accept_sparse=_SPARSE,
                ensure_all_finite=_ALLOW_NAN,
                ensure_min_samples=rows,
            )
        except ValueError as error:  # in scikit-learn's own words, which its users know
            kind = getattr(X, "dtype", None) or type(X).__name__
            raise ArgumentError(f"{error} (X is {kind})") from error

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "normalizer_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = self.method == "maxabs" or (
            self.method == "standard" and not self.with_centering
        )
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _check_sparse(method: Method, X: Any) -> None:
    """Of the kind of error that scikit-learn expects."""
    if is_sparse(X):
        try:
            refuse_filling(method, X)
        except DataError as error:
            raise ArgumentError(str(error)) from None


def _of_chosen(normalizer: FittedTransform, X: Any) -> FittedTransform:
    """The normalizer of the chosen columns alone, where `X` holds just these: by their names, or their number."""
    names, chosen = normalizer.names, normalizer.selected
    if names is None or chosen.all():
        return normalizer
    wanted = [name for name, one in zip(names, chosen, strict=True) if one]
    given = getattr(X, "columns", None)
    is_narrow = len(X.T) == len(wanted) if isinstance(X, np.ndarray) and X.ndim == 2 else False
    if not is_narrow and (given is None or [*map(str, given)] != wanted):
        return normalizer
    rotation, quartiles = normalizer.rotation, normalizer.quartiles
    columns = ("count", "mean", "std", "minimum", "maximum", "missing", "infinite", "constant", "selected")
    return replace(
        normalizer,
        names=tuple(wanted),
        rotation=None if rotation is None else rotation[np.ix_(chosen, chosen)],
        quartiles=None if quartiles is None else quartiles[:, chosen],
        **{key: getattr(normalizer, key)[chosen] for key in (*columns, "center", "scale")},
    )


def _refuse_left_alone(X: Any, normalizer: FittedTransform) -> None:
    """scikit-learn calls them unseen; dropping them here would lose them without a word."""
    names = normalizer.names
    if names is None:
        return
    others = [
        name for name in getattr(X, "columns", ()) if name in normalizer.left_alone and name not in names
    ]
    if others:
        raise DataError(
            f"X has {listed(others)}, which the normalizer leaves alone: pass X[list(n.names)], or keep them with "
            "ColumnTransformer([('normalize', n.to_sklearn(), list(n.names))], remainder='passthrough')"
        )


def to_sklearn(normalizer: FittedTransform) -> NormalizerTransformer:
    """A fitted transformer that keeps these statistics: fitting the pipeline that holds it learns nothing anew.

    So it is for data that the normalizer was not fitted on, or a model that is fitted once. Cross-validation
    (``GridSearchCV``, ``cross_val_score``) needs an unfitted ``NormalizerTransformer(method=...)``, which learns
    from the training folds alone: these statistics would have seen the held-out ones.

    It takes the columns of numbers, ``X[list(n.names)]``, as scikit-learn's own transformers do, or just those that
    were chosen with ``columns=``. To keep columns
    that the normalizer leaves alone, such as text, put it in a ``ColumnTransformer`` with
    ``remainder="passthrough"``.

    Raises
    ------
    ArgumentError
        When the normalizer was not fitted on a table.
    MissingDependency
        When scikit-learn is not installed.

    Examples
    --------
    >>> import numpy as np, wellposed as wp
    >>> x = np.array([[1.0], [4.0]])
    >>> to_sklearn(wp.Normalizer.fit(x)).fit(x + 100).transform(x).tolist()
    [[-1.0], [1.0]]
    """
    if normalizer.ndim != 2 or normalizer.axis != (1,):
        raise ArgumentError(
            f"the normalizer keeps axis {normalizer.axis} of {normalizer.ndim}: scikit-learn needs the columns of a "
            "table"
        )
    options: dict[str, Any] = {name: getattr(normalizer, name) for name in OPTIONS}
    options["clip"] = normalizer.clip or False
    made = NormalizerTransformer(method=normalizer.method, **options, normalizer=normalizer)
    made._freeze(normalizer)
    return made
