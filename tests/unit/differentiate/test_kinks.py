"""Where there is no derivative numerical_gradient says so, and nowhere else; noise of any kind widens its bars."""

from __future__ import annotations

import numpy as np
import pytest

import wellposed as wp


def both_slopes_covered(found, left, right):
    return found.value - found.error <= min(left, right) and max(left, right) <= found.value + found.error


@pytest.mark.parametrize("at", [0.0, 1.0, -3.7, 1e5, 1e-5])
@pytest.mark.parametrize(("left", "right"), [(-1.0, 1.0), (0.0, 1.0), (2.0, 2.5)])
def test_a_kink_at_x_is_found_on_a_curve(at, left, right):
    def f(x):
        return np.where(x > at, right, left) * (x - at) + np.cos((x - at) / max(abs(at), 1))

    found = wp.numerical_gradient(f, at)
    assert found.kink
    assert both_slopes_covered(found, left, right)


@pytest.mark.parametrize("beside", [1e-15, -1e-15, 3e-14])
def test_a_kink_too_near_to_tell_is_said_to_be_there(beside):
    found = wp.numerical_gradient(lambda x: abs(x - 1) + np.sin(x), 1 + beside)
    assert found.kink
    assert both_slopes_covered(found, np.cos(1) - 1, np.cos(1) + 1)


@pytest.mark.parametrize("beside", [1e-2, 1e-4, 1e-6, 1e-8, 1e-10])
def test_a_kink_that_smaller_steps_avoid_costs_only_precision(beside):
    found = wp.numerical_gradient(lambda x: abs(x - 1) + np.sin(x), 1 + beside)
    assert not found.kink
    assert abs(found.value - 1 - np.cos(1 + beside)) <= found.error < 1e-13 / beside


def test_only_the_elements_with_a_kink_are_marked():
    x = np.array([0.0, 1.0, -2.0, 0.0, 0.5])
    found = wp.numerical_gradient(lambda t: np.maximum(t, 0).sum() + np.exp(t).sum(), x)
    assert found.kink.tolist() == [True, False, False, True, False]


def test_a_kink_is_found_among_many_elements():
    x = np.random.default_rng(0).normal(size=200)
    x[17] = 0.0
    found = wp.numerical_gradient(lambda t: np.abs(t).sum(), x)
    assert np.flatnonzero(found.kink).tolist() == [17]


def test_a_kink_is_found_in_float32():
    found = wp.numerical_gradient(
        lambda x: abs(x - np.float32(1)) + np.sin(x), np.float32(1), precision="own"
    )
    assert found.kink
    assert both_slopes_covered(found, np.cos(1) - 1, np.cos(1) + 1)


@pytest.mark.parametrize("f", [lambda x: abs(x) ** 0.5, lambda x: np.cbrt(x), lambda x: np.sign(x) + x])
def test_a_cusp_a_vertical_tangent_and_a_jump_have_no_bar(f):
    found = wp.numerical_gradient(f, 0.0)
    assert found.kink
    assert found.error > 1


@pytest.mark.parametrize("distance", [1e-2, 1e-4])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_pole_within_the_first_steps_is_no_trap(distance, dtype):
    pole = float(dtype(1.5))
    x = dtype(1.5 - distance)
    found = wp.numerical_gradient(lambda t: 1 / (t - dtype(pole)), x, precision="own")
    truth = -1 / (float(x) - pole) ** 2
    assert abs(found.value - truth) <= found.error < 0.01 * abs(truth)


def test_a_hidden_term_of_few_digits_is_not_taken_for_flat():
    c = np.float32(1000.0)
    found = wp.numerical_gradient(lambda x: float((c + np.float32(np.sin(x))) - c) + x, 0.7)
    assert abs(found.value - 1 - np.cos(0.7)) <= found.error < 0.1


def test_a_random_function_gets_an_honest_bar():
    rng = np.random.default_rng(1)
    covered = []
    for x in np.linspace(-2, 2, 40):
        found = wp.numerical_gradient(lambda t: np.sin(t) + 1e-4 * rng.normal(), float(x))
        assert not found.deterministic
        covered.append(abs(found.value - np.cos(x)) <= found.error < 0.1)
    assert np.mean(covered) >= 0.95


def test_a_quiet_function_is_deterministic():
    assert wp.numerical_gradient(np.sin, 1.0).deterministic
