"""Sparse matrices: the bits of dense arrays, with no zero filled in."""

from __future__ import annotations

import resource
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn import preprocessing

from wellposed import Moments, Normalizer
from wellposed.errors import ArgumentError, DataError
from wellposed.normalize.export.sklearn import NormalizerTransformer

RNG = np.random.default_rng(0)
DENSE = np.where(RNG.random((300, 12)) < 0.15, RNG.normal(size=(300, 12)) * 1e3 + 7, 0.0)
DENSE[:, 3] = 0.0
DENSE[:, 4] = RNG.normal(size=300) + 9  # a column without zeros
DENSE[[1, 2], [5, 6]] = np.nan, -np.inf
FORMATS = ("csr", "csc", "coo", "bsr", "dia", "dok", "lil")
MAKERS = [sparse.csr_matrix, sparse.csc_matrix, sparse.coo_array, sparse.csr_array]
TENSORS = ["to_sparse_coo", "to_sparse_csr", "to_sparse_csc"]
METHODS: list[dict[str, Any]] = [
    {"method": "maxabs"},
    {"method": "maxabs", "clip": True},
    {"with_centering": False},
    {"with_centering": False, "clip": (-0.5, 2)},
    {"with_centering": False, "columns": [0, 4]},
]


def tensor(layout: str, dense: Any = DENSE) -> torch.Tensor:
    return getattr(torch.tensor(dense), layout)()


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int8, np.bool_])
def test_moments_have_the_bits_of_the_dense_array(make: Any, dtype: Any) -> None:
    dense = np.nan_to_num(DENSE, posinf=0, neginf=0).astype(dtype)

    found, expected = Moments.of(make(dense)), Moments.of(dense)

    assert found.fingerprint == expected.fingerprint
    assert (found.rows, found.precision) == (expected.rows, expected.precision)
    np.testing.assert_array_equal(found.variance, expected.variance)


@pytest.mark.filterwarnings("ignore:Sparse CS. tensor support:UserWarning")
@pytest.mark.parametrize("layout", TENSORS)
def test_tensors_and_what_is_missing_count_as_in_the_dense_array(layout: str) -> None:
    for held in (tensor(layout), sparse.csr_matrix(DENSE)):
        assert Moments.of(held).fingerprint == Moments.of(DENSE).fingerprint


def test_integers_beyond_float64_are_exact() -> None:
    dense = np.zeros((50, 3), dtype=np.int64)
    dense[::7, 0], dense[::9, 2] = (1 << 61) + 1, -(1 << 60) - 3

    assert Moments.of(sparse.csr_array(dense)).fingerprint == Moments.of(dense).fingerprint


def test_places_that_are_stored_twice_or_as_zero_count_once() -> None:
    twice = sparse.coo_matrix(([1.0, 2.0, 0.0], ([0, 0, 1], [1, 1, 0])), shape=(3, 2))

    assert Moments.of(twice).fingerprint == Moments.of(twice.toarray()).fingerprint
    np.testing.assert_array_equal(
        Normalizer.fit(twice, method="maxabs")(twice).toarray(), [[0, 1], [0, 0], [0, 0]]
    )


def test_parts_merge_to_the_whole() -> None:
    matrix = sparse.csr_matrix(DENSE)

    merged = Moments.of(matrix[:100]) | Moments.of(DENSE[100:150]) | Moments.of(matrix[150:].tocsc())

    assert merged.fingerprint == Moments.of(DENSE).fingerprint


@pytest.mark.filterwarnings("ignore:Constructing a DIA matrix")
@pytest.mark.parametrize("options", METHODS)
@pytest.mark.parametrize("format", FORMATS)
def test_fit_apply_and_inverse_have_the_bits_of_the_dense_array(options: dict[str, Any], format: str) -> None:
    matrix = sparse.csr_matrix(DENSE).asformat(format)
    n, expected = Normalizer.fit(matrix, **options), Normalizer.fit(DENSE, **options)

    z = n(matrix)

    assert (z.format, z.dtype) == (format, np.float64)
    np.testing.assert_array_equal(z.toarray(), expected(DENSE))
    np.testing.assert_array_equal(n.inverse(z).toarray(), expected.inverse(expected(DENSE)))


@pytest.mark.filterwarnings("ignore:Sparse CS. tensor support:UserWarning")
@pytest.mark.parametrize("options", METHODS)
@pytest.mark.parametrize("layout", TENSORS)
def test_tensors_stay_sparse_too(options: dict[str, Any], layout: str) -> None:
    x = tensor(layout)
    n = Normalizer.fit(x, **options)

    z = n(x)

    assert (z.layout, z.dtype) == (x.layout, x.dtype)
    np.testing.assert_array_equal(z.to_dense().numpy(), n(DENSE))
    np.testing.assert_array_equal(n.inverse(z).to_dense().numpy(), n.inverse(n(DENSE)))


def test_float32_and_integers_become_what_dense_ones_do() -> None:
    dense = (DENSE[:, :3] * 10).astype(np.int64)
    n = Normalizer.fit(dense, method="maxabs")

    for x in (dense, dense.astype(np.float32)):
        assert n(sparse.csr_matrix(x)).dtype == n(x).dtype
        np.testing.assert_array_equal(n(sparse.csr_matrix(x)).toarray(), n(x))
    half = torch.tensor(dense.astype(np.float16))
    assert torch.equal(n(half.to_sparse()).to_dense(), n(half))


def test_a_tensor_of_integers_of_which_some_pass_unchanged_becomes_float64() -> None:
    x = torch.tensor([[1, 1 << 30], [4, 0]])
    n = Normalizer.fit(x, method="maxabs", columns=[0])

    assert n(x.to_sparse()).to_dense().tolist() == n(x).tolist() == [[0.25, 1 << 30], [1.0, 0.0]]
    with pytest.raises(DataError, match=r"integers of 2\*\*53 or more"):
        n(torch.tensor([[1, 1 << 60]]).to_sparse())


def test_a_gradient_flows_to_the_stored_entries() -> None:
    x = torch.tensor([[0.0, 2.0], [4.0, 0.0]], requires_grad=True)
    n = Normalizer.fit(x.detach(), method="maxabs")

    n(x.to_sparse()).to_dense().sum().backward()

    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 0.5], [0.25, 0.0]]


@pytest.mark.parametrize(
    ("options", "scaler"),
    [
        ({"method": "maxabs"}, preprocessing.MaxAbsScaler()),
        ({"with_centering": False}, preprocessing.StandardScaler(with_mean=False)),
    ],
)
def test_it_gives_the_numbers_of_scikit_learn(options: dict[str, Any], scaler: Any) -> None:
    matrix = sparse.csr_matrix(np.nan_to_num(DENSE, neginf=5))

    z = Normalizer.fit(matrix, **options)(matrix)

    np.testing.assert_allclose(z.toarray(), scaler.fit_transform(matrix).toarray(), rtol=1e-12)


@pytest.mark.parametrize("options", [{"method": "maxabs"}, {"with_centering": False}])
@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_array])
def test_the_transformer_of_scikit_learn_takes_them(options: dict[str, Any], make: Any) -> None:
    dense = np.nan_to_num(DENSE, neginf=5)
    matrix, n = make(dense), Normalizer.fit(dense, **options)
    in_parts = NormalizerTransformer(**options)
    for part in (matrix[:100], matrix[100:]):
        in_parts.partial_fit(part)

    for made in (NormalizerTransformer(**options).fit(matrix), in_parts, n.to_sklearn()):
        z = made.transform(matrix)
        np.testing.assert_array_equal(z.toarray(), n(dense))
        np.testing.assert_allclose(made.inverse_transform(z).toarray(), dense, rtol=1e-12)


def test_targets_and_pairs_may_be_sparse() -> None:
    matrix, n = sparse.csr_matrix(DENSE), Normalizer.fit(DENSE, method="maxabs")

    for train, of in (((matrix, DENSE[:, 0]), "inputs"), ((DENSE, matrix), "targets")):
        np.testing.assert_array_equal(Normalizer.fit(train, method="maxabs", of=of).scale, n.scale)
    for train in ((matrix, matrix), (DENSE, matrix), (matrix, None)):
        np.testing.assert_array_equal(Normalizer.fit(train, method="maxabs").scale, n.scale)
    with pytest.raises(DataError, match="these have 300 and 3 rows"):
        Normalizer.fit((matrix, [1, 2, 3]), method="maxabs")


def test_new_sparse_data_are_compared_like_dense_ones() -> None:
    dense = np.nan_to_num(DENSE, neginf=5)
    n = Normalizer.fit(sparse.csr_matrix(dense), method="maxabs")

    assert n.drift(sparse.csc_matrix(dense)).ok
    assert str(n.drift(sparse.csc_matrix(9 * dense))) == str(n.drift(9 * dense))


def test_a_matrix_that_would_fill_the_memory_is_fitted_and_applied() -> None:
    shape, stored = (3_000_000, 2_000), 30_000
    places = RNG.integers(0, shape, size=(stored, 2)).T
    matrix = sparse.coo_matrix((RNG.normal(size=stored), places), shape=shape).tocsr()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    n = Normalizer.fit(matrix, with_centering=False)
    z = n(matrix)

    assert z.nnz == matrix.nnz
    assert n.count.tolist() == [shape[0]] * shape[1]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2_000_000  # kilobytes, of 48 million


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            Normalizer.fit,
            DataError,
            r"csr_matrix, and method='standard' subtracts.*\.toarray\(\) gives, or .*maxabs",
        ),
        (
            lambda x: Normalizer.fit(x, method="zca"),
            DataError,
            "method='zca' subtracts, which would fill its zeros",
        ),
        (
            lambda x: Normalizer.fit(x, method="robust", with_centering=False),
            DataError,
            "method='robust' needs all entries in order",
        ),
        (
            lambda x: Moments.of(x, covariance=True),
            DataError,
            "a covariance of a sparse csr_matrix cannot be kept",
        ),
        (
            lambda x: Moments.of(x, quantiles=True),
            DataError,
            "quantiles of a sparse csr_matrix cannot be kept",
        ),
        (lambda x: Moments.of(x, axis=0), ArgumentError, "axis is 0, for dense arrays.*leave axis out"),
        (
            lambda x: Moments.of(x, mask=np.ones(300, bool)),
            ArgumentError,
            "mask is a ndarray.*leave mask out",
        ),
        (lambda x: Normalizer.fit(x, method="maxabs", axis=()), ArgumentError, "axis is a tuple"),
        (lambda x: Normalizer.fit([x, x], method="maxabs"), DataError, "batch 0 is a sparse csr_matrix"),
        (lambda x: Normalizer.fit(x[:0], method="maxabs"), DataError, "no rows"),
        (lambda x: Moments.of(x[:, :0]), DataError, "at least one column"),
        (lambda x: Moments.of(x.astype(complex)), DataError, "dtype complex128: expected real numbers"),
        (lambda x: Moments.of(sparse.coo_array(np.ones(3))), DataError, "of 1 dimensions: expected a matrix"),
        (
            lambda x: Normalizer.fit(DENSE)(x),
            DataError,
            "the normalizer subtracts, which would fill its zeros",
        ),
        (
            lambda x: Normalizer.fit(x, method="maxabs", clip=(0.1, 1))(x),
            DataError,
            "clips to bounds without 0, which would fill",
        ),
        (lambda x: Normalizer.fit(x, method="maxabs")(x[:, 1:]), DataError, "x has 11 columns"),
        (lambda x: Normalizer.fit(x, method="maxabs")((x, x)), DataError, "x is no array of numbers"),
        (lambda x: NormalizerTransformer().fit(x), ArgumentError, "method='standard' subtracts"),
        (
            lambda x: Normalizer.fit(DENSE).to_sklearn().transform(x[5:]),
            DataError,
            "the normalizer subtracts",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_mend(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(sparse.csr_matrix(DENSE))


@pytest.mark.parametrize("make", [*MAKERS, *TENSORS])
def test_drift_reads_what_a_fit_reads(make: Any) -> None:
    x = tensor(make) if isinstance(make, str) else make(DENSE)
    n = Normalizer.fit(DENSE, method="maxabs")
    expected = str(n.drift(DENSE + 1)), str(n.drift(DENSE))
    moved = tensor(make, DENSE + 1) if isinstance(make, str) else make(DENSE + 1)

    for data, other in ((x, moved), ((x, np.zeros(300)), (moved, np.zeros(300)))):
        assert (str(n.drift(other)), str(n.drift(data))) == expected
    with pytest.raises(DataError, match="these have 300 and 299 rows"):
        n.drift((x, np.zeros(299)))


def test_an_engine_does_not_read_a_sparse_matrix() -> None:
    for x in (sparse.csr_matrix(DENSE), tensor("to_sparse_csr"), DENSE):
        with pytest.raises(ArgumentError, match=r"engine='dask': found a .*leave engine out"):
            Normalizer.fit(x, method="maxabs", engine="dask")
