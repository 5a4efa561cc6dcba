"""Rows that count several times: the bits of repeated rows, and weights that cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn import preprocessing

from wellposed import Moments, Normalizer
from wellposed.errors import ArgumentError, DataError
from wellposed.normalize.export.sklearn import NormalizerTransformer

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(60, 3)) * [1, 1e8, 1e-100] + [0, 1e10, 0]
ROWS[[3, 7], [0, 1]] = np.nan, np.inf
WEIGHTS = RNG.integers(0, 40, size=60)
WEIGHTS[[0, 3]] = 0, 7
REPEATED = np.repeat(ROWS, WEIGHTS, axis=0)
METHODS = ["standard", "minmax", "maxabs", "robust", "whiten", "zca"]


@pytest.mark.parametrize(
    "weights", [WEIGHTS, WEIGHTS.tolist(), WEIGHTS.astype(float), torch.tensor(WEIGHTS), pd.Series(WEIGHTS)]
)
def test_moments_have_the_bits_of_repeated_rows(weights: Any) -> None:
    found = Moments.of(ROWS, sample_weight=weights, covariance=True)
    expected = Moments.of(REPEATED, covariance=True)

    assert found.fingerprint == expected.fingerprint
    assert found.rows == WEIGHTS.sum()
    for name in (
        "count",
        "missing",
        "infinite",
        "mean",
        "variance",
        "std",
        "minimum",
        "maximum",
        "covariance",
    ):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.int64, np.bool_])
def test_every_dtype_is_counted_exactly(dtype: Any) -> None:
    x = RNG.normal(size=(60, 2)).astype(dtype)
    x = x * ((1 << 61) + 1) if dtype is np.int64 else x

    assert (
        Moments.of(x, sample_weight=WEIGHTS).fingerprint
        == Moments.of(np.repeat(x, WEIGHTS, axis=0)).fingerprint
    )


def test_huge_weights_need_no_memory() -> None:
    m = Moments.of(np.array([[0.0], [4.0]]), sample_weight=[3 << 58, 1 << 58])

    assert (m.mean[0], m.variance[0], m.rows) == (1.0, 3.0, 1 << 60)


def test_images_columns_of_one_number_tensors_pairs_and_masks_are_weighted() -> None:
    images, mask = RNG.normal(size=(60, 3, 4, 4)), RNG.random((60, 5)) < 0.7
    steps = RNG.normal(size=(60, 5, 2))

    cases: list[tuple[Any, dict[str, Any]]] = [
        (images, {}), (ROWS[:, 0], {}), (images, {"axis": -1}), (steps, {"mask": mask}),
    ]  # fmt: skip
    for x, others in cases:
        repeated: dict[str, Any] = {
            k: np.repeat(v, WEIGHTS, axis=0) if k == "mask" else v for k, v in others.items()
        }
        expected = Moments.of(np.repeat(x, WEIGHTS, axis=0), **repeated).fingerprint
        for held in (x, torch.tensor(x)):
            assert Moments.of(held, sample_weight=WEIGHTS, **others).fingerprint == expected
    pair = (ROWS, np.arange(60))
    assert Moments.of(pair, sample_weight=WEIGHTS).fingerprint == Moments.of(REPEATED).fingerprint


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_array])
def test_rows_of_sparse_matrices_are_weighted(make: Any) -> None:
    dense = np.where(RNG.random((60, 4)) < 0.2, RNG.normal(size=(60, 4)), 0)
    n = Normalizer.fit(make(dense), method="maxabs", sample_weight=WEIGHTS)

    assert n.provenance.fingerprint == Moments.of(np.repeat(dense, WEIGHTS, axis=0)).fingerprint


@pytest.mark.parametrize("factor", [1, 101, 10_000, 1 << 40])
def test_quantiles_of_few_rows_are_exact_however_often_they_count(factor: int) -> None:
    x = RNG.normal(size=(60, 2))
    x[3, 0], weights = np.nan, 2 * WEIGHTS + 1
    repeated = np.repeat(x, weights, axis=0)

    m = Moments.of(x, sample_weight=weights * factor, quantiles=True)

    assert m.rank_error == 0
    for q in (0.0, 0.25, 0.5, 0.9, 1.0):
        expected = np.nanquantile(repeated, q, axis=0, method="linear" if factor == 1 else "inverted_cdf")
        np.testing.assert_allclose(m.quantile(q), expected, rtol=1e-14)


def test_quantiles_of_masked_entries_and_of_channels_are_exact_too() -> None:
    steps, mask = RNG.normal(size=(60, 5, 2)), RNG.random((60, 5)) < 0.7
    images = RNG.normal(size=(20, 3, 4, 4))
    often = WEIGHTS * 1000

    masked = Moments.of(steps, sample_weight=often, mask=mask, quantiles=True)
    m = Moments.of(images, sample_weight=often[:20], axis=1, quantiles=True)

    repeated = np.repeat(np.where(mask[..., None], steps, np.nan), WEIGHTS, axis=0).reshape(-1, 2)
    channels = np.moveaxis(np.repeat(images, WEIGHTS[:20], axis=0), 1, -1).reshape(-1, 3)
    assert masked.rank_error == m.rank_error == 0
    for found, rows in ((masked, repeated), (m, channels)):
        expected = np.nanquantile(rows, 0.3, axis=0, method="inverted_cdf")
        np.testing.assert_array_equal(found.quantile(0.3), expected)


def test_robust_does_not_depend_on_the_scale_of_large_weights() -> None:
    x = RNG.normal(size=(60, 2))
    once, often = (
        Normalizer.fit(x, method="robust", sample_weight=f * (WEIGHTS + 1)) for f in (1009, 1009 * 9973)
    )

    np.testing.assert_allclose(once(x), often(x), rtol=1e-12, atol=1e-12)
    assert once.rank_error == often.rank_error == 0


def test_what_is_known_of_many_different_rows_says_its_error() -> None:
    x = RNG.normal(size=(5000, 1))
    m = Moments.of(x, sample_weight=np.full(5000, 3), quantiles=True)

    assert 0 < m.rank_error < 0.01
    assert (m | m).rank_error > 0
    assert abs(np.mean(x <= m.quantile(0.5)) - 0.5) <= m.rank_error


@pytest.mark.filterwarnings("ignore:Sparse CS")  # torch says that they are in beta
@pytest.mark.parametrize("layout", ["to_sparse_coo", "to_sparse_csr", "to_sparse_csc"])
def test_rows_of_sparse_tensors_are_weighted(layout: str) -> None:
    dense = np.where(RNG.random((60, 4)) < 0.2, RNG.normal(size=(60, 4)), 0)
    x = getattr(torch.tensor(dense), layout)()
    expected = Moments.of(np.repeat(dense, WEIGHTS, axis=0)).fingerprint

    for data in (x, (x, np.zeros(60))):
        n = Normalizer.fit(data, method="maxabs", sample_weight=WEIGHTS)
        assert n.provenance.fingerprint == expected
        assert Moments.of(data, sample_weight=WEIGHTS).fingerprint == expected
    with pytest.raises(ArgumentError, match="mask is"):
        Moments.of(x, sample_weight=WEIGHTS, mask=np.ones(60, bool))


@pytest.mark.parametrize("method", ["whiten", "zca"])
def test_the_rotation_of_some_columns_is_theirs_alone(method: str) -> None:
    x = RNG.normal(size=(60, 3)) @ RNG.normal(size=(3, 3))
    x[:30, 1] = np.nan  # a column that is not chosen costs the others no rows
    covers, choice = RNG.random(60) < 0.8, {"method": method, "columns": [2, 0]}
    by_weight = Normalizer.fit(x, sample_weight=WEIGHTS, **choice)
    by_mask = Normalizer.fit(x, mask=covers, **choice)
    by_both = Normalizer.fit(x, sample_weight=WEIGHTS, mask=covers, **choice)
    named = Normalizer.fit(pd.DataFrame(x, columns=["a", "b", "c"]), method=method, columns=["c", "a"])

    repeated, both = np.repeat(x, WEIGHTS, axis=0), np.repeat(covers, WEIGHTS)
    for found, rows in ((by_weight, repeated), (by_mask, x[covers]), (by_both, repeated[both]), (named, x)):
        expected = Normalizer.fit(rows, **choice)
        assert found.rotation is not None
        np.testing.assert_array_equal(found.rotation, expected.rotation)


@pytest.mark.parametrize("given", [{"sample_weight": WEIGHTS}, {"mask": np.ones(60, bool)}])
@pytest.mark.parametrize("targets", [np.zeros(59), [0.0] * 61])
def test_a_pair_whose_rows_differ_is_refused(given: dict[str, Any], targets: Any) -> None:
    with pytest.raises(DataError, match=rf"these have 60 and {len(targets)} rows"):
        Normalizer.fit((ROWS, targets), **given)


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_is_that_on_repeated_rows(method: str) -> None:
    n = Normalizer.fit(ROWS, method=method, sample_weight=WEIGHTS)
    expected = Normalizer.fit(REPEATED, method=method)

    assert n.provenance.rows == WEIGHTS.sum()
    np.testing.assert_array_equal(n(ROWS), expected(ROWS))


def test_a_fit_on_targets_and_some_columns_is_weighted() -> None:
    pair, repeated = (np.zeros(60), ROWS), (np.zeros(len(REPEATED)), REPEATED)
    options: dict[str, Any] = {"of": "targets", "columns": [0, 2]}

    found = Normalizer.fit(pair, sample_weight=WEIGHTS, **options)

    np.testing.assert_array_equal(found.scale, Normalizer.fit(repeated, **options).scale)


def test_it_gives_the_numbers_of_scikit_learn() -> None:
    x = RNG.normal(size=(60, 3))
    scaler = preprocessing.StandardScaler().fit(x, sample_weight=WEIGHTS)

    for made in (
        NormalizerTransformer().fit(x, sample_weight=WEIGHTS),
        Normalizer.fit(x, sample_weight=WEIGHTS),
    ):
        z = made.transform(x) if isinstance(made, NormalizerTransformer) else made(x)
        np.testing.assert_allclose(z, np.asarray(scaler.transform(x)), rtol=1e-12, atol=1e-12)


def test_weights_in_parts_give_the_whole() -> None:
    x = RNG.normal(size=(60, 3))
    parts = NormalizerTransformer()
    for some in (slice(0, 20), slice(20, 60)):
        parts.partial_fit(x[some], sample_weight=WEIGHTS[some])

    np.testing.assert_array_equal(parts.transform(x), Normalizer.fit(x, sample_weight=WEIGHTS)(x))


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (WEIGHTS / 2, r"holds [\d.]+: rows are counted exactly.*np\.rint\(1000 \* sample_weight\)"),
        (-WEIGHTS, "sample_weight holds -"),
        (np.full(60, np.nan), "sample_weight holds nan: expected whole numbers from 0 on"),
        (np.full(60, np.inf), "sample_weight holds inf"),
        (np.zeros(60), "sample_weight is zero in every row"),
        (np.ones(59), r"sample_weight has shape \(59,\), and the data have 60 rows"),
        (np.ones((60, 1)), r"sample_weight has shape \(60, 1\)"),
        (np.full(60, 2.0**60), "counts 2.*62 entries or more: divide"),
        (np.ones(60, bool), "sample_weight has dtype bool"),
        (2, "sample_weight is 2"),
        ("weights", "sample_weight is 'weights'"),
        ([None] * 60, "sample_weight"),
        (WEIGHTS * 1j, "sample_weight"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights: Any, words: str) -> None:
    for call in (Moments.of, Normalizer.fit):
        with pytest.raises(ArgumentError, match=words):
            call(ROWS, sample_weight=weights)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([ROWS, ROWS], "sample_weight is for one array.*found a list"),
        ((part for part in [ROWS]), "sample_weight is for one array.*found a generator"),
        ({"x": ROWS}, "sample_weight is for one array.*found a dict"),
    ],
)
def test_batches_are_not_weighted(data: Any, words: str) -> None:
    for call in (Moments.of, Normalizer.fit):
        with pytest.raises(ArgumentError, match=words):
            call(data, sample_weight=WEIGHTS)


def test_tables_are_not_weighted() -> None:
    with pytest.raises(ArgumentError, match=r"these data are a table or in files: leave sample_weight out"):
        Normalizer.fit(pd.DataFrame(ROWS), sample_weight=WEIGHTS)


def test_a_mask_of_other_rows_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"mask has shape \(59,\), and the data have 60 rows"):
        Moments.of(ROWS, sample_weight=WEIGHTS, mask=np.ones(59, bool))
