"""What the inputs cost gradient descent: condition numbers against descents that are really run."""

import dataclasses
import json
import math

import msgspec
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from wellposed.inputs import profile_inputs
from wellposed.inputs.conditioning import (
    Conditioning,
    CostContours,
    Ellipse,
    cost_contours,
    measure_conditioning,
    steps_a_digit,
)
from wellposed.moments.moments import Moments


def conditioning(x: np.ndarray) -> Conditioning:
    found = measure_conditioning(x, ~Moments.of(x).constant)
    assert isinstance(found, Conditioning)
    return found


def contours(x: np.ndarray) -> CostContours:
    found = cost_contours(x, Moments.of(x))
    assert found is not None
    return found


def with_bias(x: np.ndarray) -> np.ndarray:
    return np.c_[x, np.ones(len(x))]


def standardised(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(axis=0)) / x.std(axis=0)


def correlated(seed: int, rows: int = 300, columns: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, columns)) @ rng.normal(size=(columns, columns))


def steps_of_descent(x: np.ndarray, y: np.ndarray, *, first: float = 1e-4, last: float = 1e-8) -> int:
    """Steps that gradient descent on mean squared error takes from one excess loss to another, at its best rate."""
    x = with_bias(x)
    curvature, slope = x.T @ x / len(x), x.T @ y / len(x)
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    eigenvalues = np.linalg.eigvalsh(curvature)
    rate = 2 / (eigenvalues[0] + eigenvalues[-1])
    weights, start, begun = np.zeros(x.shape[1]), float(best @ curvature @ best), 0
    for step in range(200_000):
        excess = float((weights - best) @ curvature @ (weights - best)) / start
        if excess <= last:
            return step - begun
        begun = step if excess > first else begun
        weights = weights - rate * (curvature @ weights - slope)
    raise AssertionError("it did not arrive")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scales", [(1, 1, 1, 3), (1, 4, 1, 8), (0.2, 1, 2, 1)])
def test_gradient_descent_takes_the_steps_that_the_condition_number_says(seed: int, scales) -> None:
    x = correlated(seed) @ np.diag(scales) + np.arange(4)
    y = standardised(x) @ np.random.default_rng(seed).choice([-1.0, 1.0], 4) + 2
    found = conditioning(x)

    raw, fair = steps_of_descent(x, y), steps_of_descent(standardised(x), y)

    # Four digits of the loss are two of the weights.
    assert raw == pytest.approx(2 * found.raw_steps, rel=0.5)
    assert raw / fair == pytest.approx(found.steps_ratio, rel=0.5)


def test_condition_numbers_are_those_of_the_matrices_that_descent_sees() -> None:
    x = correlated(1) * [1, 2, 3, 4] + [5, 0, 0, 1]
    found = conditioning(x)

    assert found.raw == pytest.approx(np.linalg.cond(with_bias(x)) ** 2, rel=1e-9)
    assert found.standardised == pytest.approx(np.linalg.cond(with_bias(standardised(x))) ** 2, rel=1e-9)
    assert (found.rank, found.columns, found.rows) == (4, 4, 300)


def test_the_standardised_condition_number_does_not_depend_on_units_and_offsets() -> None:
    x = correlated(2)
    moved = x * [1e-6, 1, 1e3, 1e6] + [1, 0, -1e4, 1e7]

    assert conditioning(moved).standardised == pytest.approx(conditioning(x).standardised, rel=1e-6)


def test_a_condition_number_beyond_the_digits_of_the_matrix_is_resolved() -> None:
    z = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]] * 5)

    assert conditioning(z * [1e-6, 1e6]).raw == pytest.approx(1e24, rel=1e-3)


def test_exact_dependencies_do_not_count_and_do_not_change_the_rest() -> None:
    x = np.eye(4)[np.random.default_rng(3).integers(0, 4, 200)]
    found = conditioning(x)

    assert found.rank == 3
    assert found.raw < 100
    assert conditioning(np.c_[x, x[:, 0]]).rank == 3


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.random.default_rng(0).normal(size=(8, 4)), "8 complete rows for 4 columns"),
        (np.random.default_rng(0).normal(size=(50, 1)), "1 columns vary"),
        (np.random.default_rng(0).normal(size=(9, 3, 4, 4)), "4 dimensions"),
        (np.where(np.eye(50, 4) > 0, np.nan, 1e200 * np.random.default_rng(0).normal(size=(50, 4))), "overflow"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_says_why(x: np.ndarray, words: str) -> None:
    assert words in str(profile_inputs(x).conditioning)


def test_rows_with_missing_entries_are_left_out() -> None:
    x = correlated(4)
    spoilt = np.r_[x, np.full((5, 4), np.nan)]

    assert conditioning(spoilt).raw == conditioning(x).raw


@pytest.mark.parametrize("draw", ["normal", "lognormal", "t"])
def test_the_standard_error_is_the_scatter_over_fresh_draws(draw: str) -> None:
    rng = np.random.default_rng(5)
    mix = np.array([[1, 0.9, 0.3], [0, 0.6, 0], [0, 0, 1.0]])
    make = {
        "normal": lambda: rng.normal(size=(400, 3)),
        "lognormal": lambda: rng.lognormal(sigma=0.5, size=(400, 3)),
        "t": lambda: rng.standard_t(6, size=(400, 3)),
    }[draw]
    found = [conditioning(make() @ mix) for _ in range(300)]

    scatter = np.std([math.log(f.standardised) for f in found])
    assert np.median([f.error for f in found]) == pytest.approx(scatter, rel=0.25)


def test_few_rows_of_independent_columns_look_as_badly_conditioned_as_the_profile_says() -> None:
    rng = np.random.default_rng(6)
    found = [conditioning(rng.normal(size=(100, 40))) for _ in range(10)]

    seen = np.median([f.standardised for f in found])
    assert seen == pytest.approx(found[0].by_chance, rel=0.35)


def test_steps_grow_with_half_the_condition_number() -> None:
    assert steps_a_digit(1.0) == 1.0
    assert steps_a_digit(1e9) == pytest.approx(1e9 / 2 * math.log(10), rel=1e-6)
    assert steps_a_digit(math.inf) == math.inf


def test_wine_costs_millions_of_times_the_steps_until_it_is_standardised() -> None:
    found = conditioning(load_wine().data)

    assert found.raw == pytest.approx(np.linalg.cond(with_bias(load_wine().data)) ** 2, rel=1e-4)
    assert found.steps_ratio > 1e6
    assert conditioning(standardised(load_wine().data)).steps_ratio == pytest.approx(1, rel=1e-6)


# Contours


def curvature(e: Ellipse) -> np.ndarray:
    a, b, d = e.form
    return np.array([[a, b], [b, d]])


@pytest.mark.parametrize(
    "x", [load_wine().data, load_breast_cancer().data, load_diabetes().data, correlated(7)]
)
def test_the_axes_end_on_the_contour_and_the_angle_is_that_of_the_long_one(x: np.ndarray) -> None:
    found = contours(x)

    for ellipse in (found.raw, found.standardised):
        along = np.array([math.cos(ellipse.angle), math.sin(ellipse.angle)])
        across = np.array([-along[1], along[0]])
        matrix = curvature(ellipse)
        assert ellipse.short**2 * across @ matrix @ across == pytest.approx(1, rel=1e-6)
        assert ellipse.long * np.linalg.norm(matrix @ along) == pytest.approx(
            1 / ellipse.long, abs=1e-6 / ellipse.short
        )
        assert ellipse.condition == pytest.approx((ellipse.long / ellipse.short) ** 2)


def test_the_form_is_the_second_moment_of_the_two_features() -> None:
    x = correlated(8) * [1, 5, 1, 1] + [0, 1, 3, 0]
    found = contours(x)
    pair = x[:, found.columns]

    np.testing.assert_allclose(curvature(found.raw), pair.T @ pair / len(pair), rtol=1e-9)
    np.testing.assert_allclose(curvature(found.standardised), np.corrcoef(pair.T), rtol=1e-9)


def test_the_pair_is_the_one_that_standardising_rounds_most() -> None:
    x = np.random.default_rng(9).normal(size=(500, 4)) * [1, 1000, 0.01, 5]

    assert contours(x).columns == (1, 2)
    assert contours(x).raw.condition > 1e9
    assert contours(x).standardised.condition < 1.5


def test_features_that_repeat_each_other_make_no_picture() -> None:
    x = np.random.default_rng(10).normal(size=(100, 1))

    assert cost_contours(np.c_[x, x], Moments.of(np.c_[x, x])) is None
    assert cost_contours(x, Moments.of(x)) is None
    assert contours(np.c_[x, 2 * x, np.ones(100), x[::-1]]).columns == (1, 3)


def test_a_profile_holds_plain_numbers_for_the_report() -> None:
    profile = profile_inputs(load_wine().data)

    assert isinstance(profile.conditioning, Conditioning)
    assert profile.contours is not None
    for part in (profile.conditioning, profile.contours):
        assert json.loads(msgspec.json.encode(part)) == json.loads(json.dumps(dataclasses.asdict(part)))
