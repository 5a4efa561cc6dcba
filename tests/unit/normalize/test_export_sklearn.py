"""The scikit-learn transformer: scikit-learn's own checks, and what is ours about it."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from wellposed import Normalizer
from wellposed.choices import METHODS
from wellposed.errors import ArgumentError, DataError
from wellposed.normalize.export.sklearn import NormalizerTransformer, to_sklearn

RNG = np.random.default_rng(0)
TABLE = RNG.normal([5.0, -300.0, 0.02], [2.0, 50.0, 0.004], size=(60, 3))
FRAME = pd.DataFrame(TABLE, columns=["a", "b", "c"])


@parametrize_with_checks([NormalizerTransformer(method=method) for method in METHODS])
def test_it_passes_the_checks_of_scikit_learn(estimator: NormalizerTransformer, check) -> None:
    check(estimator)


@pytest.mark.parametrize("method", METHODS)
def test_it_does_what_the_normalizer_does_and_back(method: str) -> None:
    made = NormalizerTransformer(method=method).fit(TABLE)
    z = made.transform(TABLE)

    np.testing.assert_array_equal(z, Normalizer.fit(TABLE, method=method)(TABLE))
    np.testing.assert_allclose(made.inverse_transform(z), TABLE, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", ["standard", "minmax", "zca"])
def test_batches_give_the_bits_of_the_whole_in_any_order(method: str) -> None:
    parts = NormalizerTransformer(method=method)
    for batch in np.split(RNG.permutation(TABLE), 4):
        parts.partial_fit(batch)

    np.testing.assert_array_equal(parts.transform(TABLE), NormalizerTransformer(method).fit_transform(TABLE))
    assert parts.n_samples_seen_ == 60


def test_fit_forgets_what_came_before() -> None:
    made = NormalizerTransformer().fit(TABLE * 9).fit(TABLE)

    np.testing.assert_array_equal(made.transform(TABLE), NormalizerTransformer().fit_transform(TABLE))


def test_to_sklearn_keeps_its_statistics_in_a_pipeline_that_is_fitted_again() -> None:
    n = Normalizer.fit(TABLE)
    made = to_sklearn(n)
    pipeline = make_pipeline(clone(made)).fit(TABLE * 7)

    for one in (made, clone(made).fit(TABLE), pickle.loads(pickle.dumps(made)), pipeline):
        np.testing.assert_array_equal(one.transform(TABLE), n(TABLE))
    assert made.partial_fit(TABLE * 9).normalizer_ is n


@pytest.mark.parametrize("asked", [{"method": "minmax"}, {"columns": ["a"]}])
def test_what_a_given_normalizer_would_ignore_is_refused(asked: dict) -> None:
    made = to_sklearn(Normalizer.fit(TABLE)).set_params(**asked)

    for learn in (made.fit, made.partial_fit):
        with pytest.raises(ArgumentError, match=r"beside normalizer=.*use NormalizerTransformer\("):
            learn(FRAME)


def test_a_search_over_methods_learns_from_the_training_folds() -> None:
    pipeline = make_pipeline(NormalizerTransformer(), Ridge())
    grid = {"normalizertransformer__method": ["standard", "minmax"]}

    search = GridSearchCV(pipeline, grid, cv=3).fit(TABLE, TABLE[:, 0])
    fixed = make_pipeline(to_sklearn(Normalizer.fit(TABLE)), Ridge())

    assert (
        search.best_estimator_[0].normalizer_.method == search.best_params_["normalizertransformer__method"]
    )
    with pytest.raises(ArgumentError, match="method='minmax' changes nothing"):
        GridSearchCV(
            fixed, {**grid, "normalizertransformer__method": ["minmax"]}, cv=3, error_score="raise"
        ).fit(TABLE, TABLE[:, 0])


def test_columns_that_are_left_alone_go_around_it() -> None:
    frame = FRAME.assign(city=["x", "y"] * 30)
    n = Normalizer.fit(frame)
    around = ColumnTransformer([("n", to_sklearn(n), list(n.names))], remainder="passthrough")

    with pytest.raises(
        DataError, match=r"X has city, which the normalizer leaves alone: pass X\[list\(n.names"
    ):
        to_sklearn(n).transform(frame)
    np.testing.assert_array_equal(to_sklearn(n).transform(frame[list(n.names)]), n(TABLE))
    assert list(around.fit_transform(frame)[:2, 3]) == ["x", "y"]


@pytest.mark.parametrize("method", METHODS)
def test_a_normalizer_of_chosen_columns_takes_a_frame_of_just_those(method: str) -> None:
    frame = FRAME.assign(city=["x", "y"] * 30)
    n = Normalizer.fit(frame, columns=["a", "c"], method=method)
    made, chosen = to_sklearn(n), frame[["a", "c"]]
    around = ColumnTransformer([("n", to_sklearn(n), ["a", "c"])], remainder="passthrough")

    z = made.transform(chosen)

    np.testing.assert_array_equal(z, n(frame)[["a", "c"]])
    np.testing.assert_array_equal(make_pipeline(to_sklearn(n)).fit(chosen).transform(chosen), z)
    np.testing.assert_array_equal(around.fit_transform(frame)[:, :2].astype(float), z)
    np.testing.assert_allclose(made.inverse_transform(z), chosen, rtol=1e-9, atol=1e-9)
    assert list(made.fit(chosen).set_output(transform="pandas").transform(chosen).columns) == ["a", "c"]


def test_a_normalizer_of_chosen_columns_takes_all_its_columns_too_and_no_others() -> None:
    made = to_sklearn(Normalizer.fit(FRAME, columns=["a", "c"]))

    np.testing.assert_array_equal(made.transform(FRAME)[:, 1], TABLE[:, 1])
    with pytest.raises(ValueError, match="feature names"):
        made.transform(FRAME[["a"]])


def test_names_and_frames_come_through() -> None:
    n = Normalizer.fit(TABLE, columns=["a", "b", "c"])
    made = to_sklearn(n).set_output(transform="pandas")

    out = made.transform(FRAME)

    assert list(out.columns) == list(made.get_feature_names_out()) == ["a", "b", "c"]
    np.testing.assert_array_equal(out.to_numpy(), n(TABLE))
    with pytest.raises(ValueError, match="feature names"):
        made.transform(FRAME.rename(columns={"a": "z"}))


def test_only_the_columns_that_are_named_change() -> None:
    made = NormalizerTransformer(columns=["b"]).fit(FRAME)

    out = made.transform(FRAME)

    np.testing.assert_array_equal(out[:, [0, 2]], TABLE[:, [0, 2]])
    assert abs(out[:, 1].mean()) < 1e-12


def test_missing_entries_stay_and_do_not_count() -> None:
    holes = TABLE.copy()
    holes[::7, 1] = np.nan

    made = NormalizerTransformer().fit(holes)

    assert made.normalizer_.missing.tolist() == [0, 9, 0]
    np.testing.assert_array_equal(np.isnan(made.transform(holes)), np.isnan(holes))


def test_what_it_cannot_take_is_refused() -> None:
    with pytest.raises(ArgumentError, match="method is 'log': expected one of standard"):
        NormalizerTransformer("log").fit(TABLE)
    with pytest.raises(ArgumentError, match="columns of a table"):
        to_sklearn(Normalizer.fit(RNG.normal(size=(4, 3, 5, 5))))
