"""Each method: what it does to ordinary columns, and to those that have no spread to divide by."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from wellposed.errors import ArgumentError, DataError
from wellposed.normalize import Normalizer

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(400, 4)) @ RNG.normal(size=(4, 4)) * [1, 1000, 1e-3, 5] + [0, 3000, 1, -7]
METHODS = ["standard", "minmax", "maxabs", "robust", "whiten", "zca"]


def correlation_of(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return (z - z.mean(axis=0)).T @ (z - z.mean(axis=0)) / len(z)


def rotation_of(n: Normalizer) -> NDArray[np.float64]:
    assert n.rotation is not None
    return n.rotation


def test_minmax_maps_the_training_range_to_zero_and_one() -> None:
    z = Normalizer.fit(ROWS, method="minmax")(ROWS)

    np.testing.assert_array_equal(z.min(axis=0), 0)
    np.testing.assert_array_equal(z.max(axis=0), 1)


def test_maxabs_divides_by_the_largest_and_keeps_zeros() -> None:
    x = np.array([[0.0, 1.0, 0.0], [-4.0, 2.0, 0.0]])

    assert Normalizer.fit(x, method="maxabs")(x).tolist() == [[0.0, 0.5, 0.0], [-1.0, 1.0, 0.0]]


def test_maxabs_divides_a_constant_column_too_since_its_scale_is_certain() -> None:
    x = np.full((5, 1), 0.1)

    assert (Normalizer.fit(x, method="maxabs")(x) == 1).all()


def test_robust_subtracts_the_median_and_divides_by_the_middle_half() -> None:
    x = np.arange(101.0)[:, None]
    x[-1] = 1e9

    n = Normalizer.fit(x, method="robust")

    np.testing.assert_allclose(n.center, 50, atol=1)
    np.testing.assert_allclose(n.scale, 50, atol=2)
    assert n.quartiles is not None
    np.testing.assert_array_equal(n.quartiles[1], n.center)


def test_robust_uses_the_std_where_the_middle_half_is_one_value_and_says_so() -> None:
    x = np.zeros((100, 2))
    x[:5, 0], x[:, 1] = [1, 2, 3, 4, 5], np.arange(100)

    n = Normalizer.fit(x, method="robust", columns=["rare", "even"])

    assert n.scale[0] == n.std[0] > 0
    assert "the middle half is one value, so divided by the std: rare" in str(n).replace(
        "\n            ", " "
    )


def test_robust_does_not_divide_by_rounding_noise() -> None:
    x = np.where(np.arange(100) % 2, 0.1 + 0.2, 0.3)[:, None]
    x[:3] = [[5.0], [6.0], [7.0]]

    n = Normalizer.fit(x, method="robust")

    assert n.scale[0] == n.std[0]


@pytest.mark.parametrize("method", ["whiten", "zca"])
def test_whitened_training_data_are_uncorrelated_with_variance_one(method: str) -> None:
    n = Normalizer.fit(ROWS, method=method)

    np.testing.assert_allclose(correlation_of(n(ROWS)), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(n(ROWS).mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(n.inverse(n(ROWS)) / ROWS.std(axis=0), ROWS / ROWS.std(axis=0), atol=1e-11)


def test_whitening_orders_directions_by_their_share_and_zca_stays_near_the_columns() -> None:
    whiten, zca = (Normalizer.fit(ROWS, method=m) for m in ("whiten", "zca"))
    standard = Normalizer.fit(ROWS)(ROWS)

    shares = 1 / (rotation_of(whiten) ** 2).sum(axis=0)
    assert (np.diff(shares) < 0).all()
    np.testing.assert_allclose(rotation_of(zca), rotation_of(zca).T, atol=1e-12)
    kept = [np.corrcoef(zca(ROWS)[:, i], standard[:, i])[0, 1] for i in range(4)]
    turned = [np.corrcoef(whiten(ROWS)[:, i], standard[:, i])[0, 1] for i in range(4)]
    assert sum(kept) > sum(np.abs(turned))


@pytest.mark.parametrize("method", ["whiten", "zca"])
def test_a_direction_that_is_a_combination_of_columns_is_dropped_and_comes_back(method: str) -> None:
    x = np.c_[ROWS, ROWS[:, 0] + ROWS[:, 3], ROWS[:, 1] * 2]
    n = Normalizer.fit(x, method=method)

    z = n(x)

    assert np.linalg.matrix_rank(rotation_of(n)) == 4
    assert "2 of 6 directions" in str(n)
    assert np.abs(z).max() < 30
    np.testing.assert_allclose(n.inverse(z), x, rtol=1e-9, atol=1e-9)


def test_a_combination_that_was_rounded_when_it_was_stored_is_dropped_too() -> None:
    x = (RNG.normal(size=(300, 3)) + 1000).astype(np.float32)
    x = np.c_[x, (x[:, 0].astype(float) + x[:, 1]).astype(np.float32)]

    n = Normalizer.fit(x, method="whiten")

    # In float64 the rounding of the sum is a direction of its own, with a std of some 1e-5.
    assert np.linalg.matrix_rank(rotation_of(n)) == 3
    assert np.abs(n(x)).max() < 10


def test_a_small_direction_that_is_real_is_kept() -> None:
    base = RNG.normal(size=500)
    x = np.stack([base, base + 1e-5 * RNG.normal(size=500)], axis=1)

    n = Normalizer.fit(x, method="whiten")

    assert n.remarks == ()
    np.testing.assert_allclose(correlation_of(n(x)), np.eye(2), atol=1e-5)


def test_fewer_rows_than_columns_leave_as_many_directions_as_rows_can_show() -> None:
    n = Normalizer.fit(RNG.normal(size=(5, 9)), method="whiten")

    assert np.linalg.matrix_rank(rotation_of(n)) == 4


@pytest.mark.parametrize("method", ["whiten", "zca"])
def test_whitening_leaves_constant_and_unselected_columns_out_of_the_mixture(method: str) -> None:
    x = np.c_[ROWS[:, :2], np.full(400, 3.0), ROWS[:, 2:]]
    x[5, 4] = np.nan
    n = Normalizer.fit(x, method=method, columns=[0, 1, 2, 3])

    z = n(x)

    np.testing.assert_array_equal(z[:, 4], x[:, 4])
    np.testing.assert_array_equal(z[:, 2], 0)
    np.testing.assert_allclose(correlation_of(z[:, [0, 1, 3]]), np.eye(3), atol=1e-12)
    assert n.mixed.tolist() == [True, True, False, True, False]


def test_whitening_takes_its_directions_from_the_complete_rows_and_says_so() -> None:
    x = ROWS.copy()
    x[:10, 0] = np.nan

    n = Normalizer.fit(x, method="whiten")

    assert "390 rows of 400" in str(n)
    assert np.isnan(n(x)[:10]).all()
    np.testing.assert_allclose(correlation_of(n(x[10:])), np.eye(4), atol=1e-10)


def test_entries_missing_in_columns_that_are_not_named_cost_whitening_no_rows() -> None:
    x = np.c_[ROWS, np.where(np.arange(400) % 2, np.nan, 1.0)]

    n = Normalizer.fit(x, method="whiten", columns=[0, 1, 2, 3])

    assert n.remarks == ()
    np.testing.assert_allclose(correlation_of(n(x)[:, :4]), np.eye(4), atol=1e-12)


def test_channels_of_images_can_be_whitened() -> None:
    images = np.einsum("nchw,cd->ndhw", RNG.normal(size=(20, 3, 5, 4)), RNG.normal(size=(3, 3))) + 9
    n = Normalizer.fit(images, method="zca")

    z = n(images)

    np.testing.assert_allclose(correlation_of(np.moveaxis(z, 1, -1).reshape(-1, 3)), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(n(images[0]), z[0], atol=1e-12)
    np.testing.assert_allclose(n.inverse(z), images, rtol=1e-12)


def test_whitening_needs_one_axis_of_columns() -> None:
    with pytest.raises(ArgumentError, match="expected one axis"):
        Normalizer.fit(RNG.normal(size=(9, 3, 2)), method="whiten", axis=(1, 2))
    with pytest.raises(ArgumentError, match="expected one axis"):
        Normalizer.fit(RNG.normal(size=9), method="zca")


def test_whitening_without_complete_rows_names_the_way_out() -> None:
    with pytest.raises(DataError, match="leave out the columns"):
        Normalizer.fit(np.array([[1.0, np.nan], [np.nan, 2.0], [3.0, np.nan]]), method="whiten")


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_column_becomes_no_noise(method: str) -> None:
    x = np.c_[np.full(50, 0.1), np.arange(50.0)]
    x[::2, 0] = np.nextafter(0.1, 1)  # one spacing: what summing in another order leaves

    n = Normalizer.fit(x, method=method)

    assert n.constant.tolist() == [True, False]
    assert np.abs(n(x)[:, 0]).max() <= 1.0 + 1e-12
    assert np.ptp(n(x)[:, 0]) < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_one_row_is_a_constant(method: str) -> None:
    x = np.array([[2.0, 3.0]])
    n = Normalizer.fit(x, method=method)

    assert n.constant.all()
    assert np.isfinite(n(x)).all()


@pytest.mark.parametrize("method", ["standard", "minmax", "maxabs", "robust"])
def test_columns_near_the_ends_of_float64_are_mapped(method: str) -> None:
    x = np.array([[1e200, 1e-200], [-1e200, 3e-200], [5e199, 2e-200], [-5e199, 2.5e-200]])

    z = Normalizer.fit(x, method=method)(x)

    assert np.isfinite(z).all()
    assert (np.ptp(z, axis=0) > 0.1).all()


@pytest.mark.parametrize("method", ["minmax", "standard"])
def test_a_span_beyond_float64_is_refused_with_the_column(method: str) -> None:
    x = np.array([[1.0, 1.7e308], [2.0, -1.7e308], [3.0, -1.7e308]])

    with pytest.raises(DataError, match=r"column 1 spans -1\.7e\+308 to 1\.7e\+308"):
        Normalizer.fit(x, method=method)


def test_a_std_whose_square_float64_cannot_hold_is_refused_by_whitening() -> None:
    with pytest.raises(DataError, match=r"column 0 has a std of .*e-200"):
        Normalizer.fit(np.array([[1e-200, 1.0], [3e-200, 4.0], [5e-200, 2.0]]), method="whiten")


@pytest.mark.parametrize("method", METHODS)
def test_missing_and_infinite_entries_change_no_statistic(method: str) -> None:
    clean = Normalizer.fit(ROWS, method=method)
    holes = np.r_[ROWS, np.full((3, 4), np.nan), np.full((2, 4), np.inf)]

    n = Normalizer.fit(holes, method=method)

    np.testing.assert_allclose(n.center, clean.center, rtol=1e-12)
    np.testing.assert_allclose(n.scale, clean.scale, rtol=1e-12)
    np.testing.assert_allclose(n(ROWS), clean(ROWS), atol=1e-9)
