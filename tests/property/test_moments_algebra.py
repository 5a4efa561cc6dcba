"""Merging is a commutative monoid, and moments move with the data."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wellposed.moments import Moments
from wellposed.normalize import Normalizer

numbers = st.floats(-1e100, 1e100, allow_subnormal=False) | st.sampled_from(
    [np.nan, np.inf, -np.inf, 0.1, 1e7 + 1]
)
tables = st.integers(0, 7).flatmap(lambda n: arrays(np.float64, (n, 2), elements=numbers))
ordinary = arrays(np.float64, (9, 3), elements=st.integers(-1000, 1000).map(lambda i: i / 8))


def assert_same(a: Moments, b: Moments) -> None:
    """To the last bit."""
    assert a.fingerprint == b.fingerprint
    for name in ("count", "missing", "infinite", "minimum", "maximum", "mean", "variance", "std"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@given(tables, tables, tables)
def test_merging_is_associative(x, y, z) -> None:
    a, b, c = map(Moments.of, (x, y, z))
    assert_same((a | b) | c, a | (b | c))


@given(tables, tables)
def test_merging_is_commutative_to_the_bit(x, y) -> None:
    a, b = Moments.of(x), Moments.of(y)
    np.testing.assert_array_equal((a | b).mean, (b | a).mean)
    np.testing.assert_array_equal((a | b).variance, (b | a).variance)


@given(tables)
def test_empty_is_the_identity(x) -> None:
    m = Moments.of(x)
    for merged in (m | Moments.empty(), Moments.empty() | m, m | Moments.empty(2), Moments.empty(2) | m):
        np.testing.assert_array_equal(merged.mean, m.mean)
        np.testing.assert_array_equal(merged.variance, m.variance)


@given(tables, st.integers(0, 7))
def test_a_split_anywhere_merges_to_the_whole(x, where) -> None:
    assert_same(Moments.of(x), Moments.of(x[:where]) | Moments.of(x[where:]))


@given(ordinary, st.integers(-200, 200))
def test_moments_scale_with_the_data(x, power) -> None:
    m, scaled = Moments.of(x), Moments.of(np.ldexp(x, power))
    np.testing.assert_allclose(scaled.mean, np.ldexp(m.mean, power), rtol=1e-14)
    np.testing.assert_allclose(scaled.std, np.ldexp(m.std, power), rtol=1e-14)


@given(ordinary)
def test_the_inverse_undoes_the_normalisation(x) -> None:
    n = Normalizer.fit(x)
    np.testing.assert_allclose(n.inverse(n(x)), x, rtol=1e-12, atol=1e-11)


@given(ordinary)
def test_normalised_training_data_have_mean_zero_and_std_one_or_are_constant(x) -> None:
    n = Normalizer.fit(x)
    z = n(x)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(z.std(axis=0), np.where(n.constant, 0, 1), atol=1e-10)
