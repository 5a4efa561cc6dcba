"""What must hold of numerical derivatives whatever the function: scale, sum, order of the elements."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import wellposed as wp

POWERS = st.integers(-60, 60)
SEEDS = st.integers(0, 2**32 - 1)
quick = settings(max_examples=40, deadline=None)


def drawn(seed):
    """A smooth function of four numbers, and a point."""
    rng = np.random.default_rng(seed)
    a, b, x = rng.normal(size=(4, 4)), rng.normal(size=4), rng.normal(size=4)
    return (lambda t: float(np.sin(a @ t) @ b + np.exp(-t @ t / 4))), x


@quick
@given(SEEDS, POWERS)
def test_a_factor_on_f_is_a_factor_on_value_and_bar(seed, power):
    f, x = drawn(seed)
    once, scaled = wp.numerical_gradient(f, x), wp.numerical_gradient(lambda t: f(t) * 2.0**power, x)
    assert np.array_equal(scaled.value, once.value * 2.0**power)
    assert np.allclose(scaled.error, once.error * 2.0**power, rtol=1e-12)


@quick
@given(SEEDS, POWERS)
def test_a_factor_on_a_staircase_is_a_factor_on_value_and_bar(seed, power):
    smooth, x = drawn(seed)

    def f(t):
        return float(np.float32(np.sin(t[0]))) + smooth(t)

    once, scaled = wp.numerical_gradient(f, x), wp.numerical_gradient(lambda t: f(t) * 2.0**power, x)
    assert np.array_equal(scaled.value, once.value * 2.0**power)
    assert np.allclose(scaled.error, once.error * 2.0**power, rtol=1e-12)


@quick
@given(SEEDS, POWERS)
def test_a_change_of_units_of_x_changes_nothing_else(seed, power):
    f, x = drawn(seed)
    unit = 2.0**power
    once, scaled = wp.numerical_gradient(f, x), wp.numerical_gradient(lambda t: f(t / unit), x * unit)
    assert np.array_equal(scaled.value * unit, once.value)
    assert np.array_equal(scaled.kink, once.kink)


# What an error bar promises holds for 99 of 100 functions, not for every one: these are rates over many functions.
MANY = range(100)
PROMISED = 0.99


def rate(holds):
    return np.mean([holds(seed) for seed in MANY])


def test_a_linear_function_is_exact_within_a_narrow_bar():
    def holds(seed):
        rng = np.random.default_rng(seed)
        slopes, x = rng.normal(size=3) * 10 ** rng.uniform(-3, 3), rng.normal(size=3)
        found = wp.numerical_gradient(lambda t: float(t @ slopes), x)
        narrow = np.all(found.error <= 1e-13 * (1 + np.abs(slopes).max()))
        return narrow and np.all(np.abs(found.value - slopes) <= found.error) and not found.kink.any()

    assert rate(holds) >= PROMISED


def test_the_derivative_of_a_sum_is_the_sum_of_the_derivatives():
    def holds(seed):
        (f, x), (g, _) = drawn(seed), drawn(seed + len(MANY))
        parts = wp.numerical_gradient(f, x), wp.numerical_gradient(g, x)
        total = wp.numerical_gradient(lambda t: f(t) + g(t), x)
        bars = parts[0].error + parts[1].error + total.error
        return np.all(np.abs(total.value - parts[0].value - parts[1].value) <= bars)

    assert rate(holds) >= PROMISED


def test_the_order_of_the_elements_does_not_matter():
    def holds(seed):
        f, x = drawn(seed)
        order = np.random.default_rng(seed).permutation(4)
        inverse = np.argsort(order)
        once, permuted = wp.numerical_gradient(f, x), wp.numerical_gradient(lambda t: f(t[inverse]), x[order])
        return np.all(np.abs(permuted.value - once.value[order]) <= permuted.error + once.error[order])

    assert rate(holds) >= PROMISED


def test_a_smooth_function_has_no_kink():
    def holds(seed):
        f, x = drawn(seed)
        return not wp.numerical_gradient(f, x).kink.any()

    assert rate(holds) >= PROMISED
