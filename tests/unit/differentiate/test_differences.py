"""numerical_gradient: its error bars cover, its steps fit, and it says what it cannot do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import wellposed as wp
from wellposed.errors import ArgumentError


def smooth_function(rng):
    """A random smooth function, its derivative, and a point."""
    a, b, c = rng.normal(size=3)
    s = 10 ** rng.uniform(-2, 2)
    polynomial = rng.normal(size=6)
    kinds = [
        (lambda x: np.sin(s * x + a) * b + c, lambda x: s * np.cos(s * x + a) * b, rng.normal()),
        (lambda x: np.exp(a * x) + c, lambda x: a * np.exp(a * x), 3 * rng.normal()),
        (lambda x: np.log(x) * a + c, lambda x: a / x, 10 ** rng.uniform(-3, 3)),
        (lambda x: np.tanh(s * x) + 100 * c, lambda x: s / np.cosh(s * x) ** 2, rng.normal() / s),
        (
            lambda x: np.polyval(polynomial, x),
            lambda x: np.polyval(np.polyder(polynomial), x),
            2 * rng.normal(),
        ),
        (lambda x: 1 / (1 + s * x * x), lambda x: -2 * s * x / (1 + s * x * x) ** 2, rng.normal()),
        (lambda x: np.sqrt(x) * a, lambda x: a / 2 / np.sqrt(x), 10 ** rng.uniform(-6, 6)),
    ]
    f, derivative, x = kinds[rng.integers(len(kinds))]
    return f, derivative, float(x)


def test_the_error_bar_covers_and_is_not_idle():
    rng = np.random.default_rng(7)
    covered, width = [], []
    for _ in range(700):
        f, derivative, x = smooth_function(rng)
        found = wp.numerical_gradient(f, x)
        error = abs(found.value - derivative(x))
        covered.append(error <= found.error)
        width.append(found.error / max(error, 1e-300))
    assert np.mean(covered) >= 0.95
    assert np.median(width) <= 20


def test_no_smooth_function_is_said_to_have_a_kink():
    rng = np.random.default_rng(8)
    found = [wp.numerical_gradient(f, x) for f, _, x in (smooth_function(rng) for _ in range(300))]
    assert not any(g.kink for g in found)


def test_the_lectures_cube_gives_the_lectures_numbers():
    def cube(theta):
        return theta**3

    two_sided = wp.numerical_gradient(cube, 1.0, step=0.01)
    one_sided = wp.numerical_gradient(cube, 1.0, step=0.01, method="one-sided")
    assert two_sided.value == pytest.approx(3.0001, abs=1e-10)
    assert one_sided.value == pytest.approx(3.0301, abs=1e-10)
    assert abs(two_sided.value - 3) <= two_sided.error <= 1e-3
    assert abs(one_sided.value - 3) <= one_sided.error <= 0.3


def test_an_array_is_differentiated_element_by_element_and_left_alone():
    x = np.array([[0.5, -1.0], [2.0, 0.0]])
    before = x.copy()
    found = wp.numerical_gradient(lambda a: np.sum(np.sin(a) * a), x)
    assert found.value.shape == x.shape
    assert np.all(np.abs(found.value - (np.cos(x) * x + np.sin(x))) <= found.error)
    assert np.array_equal(x, before)
    assert not found.value.flags.writeable


def test_a_torch_function_is_differentiated_in_float64():
    x = torch.tensor([0.3, -0.7])
    found = wp.numerical_gradient(lambda t: (t**3).sum(), x)
    assert np.all(np.abs(found.value - 3 * x.double().numpy() ** 2) <= found.error)
    assert found.error.max() < 1e-9


def test_a_line_has_its_slope():
    lines = np.random.default_rng(0).uniform(-1e6, 1e6, size=(100, 2))
    found = [wp.numerical_gradient(lambda x, a=a, b=b: a * x + b, 0.7) for a, b in lines]
    within = [abs(n.value - a) <= n.error + 1e-12 * abs(a) for n, (a, _) in zip(found, lines, strict=True)]
    assert np.mean(within) >= 0.99


def test_at_a_kink_the_interval_covers_both_slopes():
    found = wp.numerical_gradient(lambda x: max(x, 0.0) * 3 + x, 0.0)
    assert found.kink
    assert found.value - found.error <= 1 <= 4 <= found.value + found.error


def test_beside_a_kink_there_is_none():
    found = wp.numerical_gradient(abs, 1e-3)
    assert not found.kink
    assert abs(found.value - 1) <= found.error < 1e-9


def test_a_vertical_tangent_has_no_error_bar():
    assert wp.numerical_gradient(lambda x: np.sign(x) * abs(x) ** 0.5, 0.0).error > 1


def test_waves_shorter_than_the_first_step_are_seen():
    found = wp.numerical_gradient(lambda x: np.sin(1000 * x), 5.0)
    assert abs(found.value - 1000 * np.cos(5000.0)) <= found.error < 1e-6


@pytest.mark.parametrize("rounded", [lambda v: np.float32(v), lambda v: float(np.float32(v))])
def test_float32_noise_widens_the_bar(rounded):
    found = wp.numerical_gradient(lambda x: rounded(np.sin(np.float32(x))), 1.0)
    assert abs(found.value - np.cos(1.0)) <= found.error < 1e-3


def test_at_the_end_of_the_domain_it_looks_to_one_side():
    found = wp.numerical_gradient(lambda x: x**2 + x if x >= 0 else np.nan, 0.0)
    assert found.method == "one-sided"
    assert abs(found.value - 1) <= found.error < 1e-6


@pytest.mark.parametrize(
    ("f", "x", "said"),
    [
        (lambda x: x**2, 1, "x is"),
        (lambda x: x.sum(), np.arange(3), "int64"),
        (lambda x: x.sum(), np.zeros((0, 2)), "empty"),
        (lambda x: x.sum(), np.array([1.0, np.nan]), "not finite"),
        (lambda x: x, np.ones(3), "expected one real number"),
        (lambda x: None, 1.0, "f returned None"),
        (lambda x: np.log(x - 2), 1.0, r"f\(x\) is nan"),
        (lambda x: x.__imul__(2).sum(), np.ones(3), "changed its argument"),
        (lambda x: x if x == 1.0 else np.nan, 1.0, "not finite beside x"),
    ],
)
def test_what_cannot_be_differentiated_is_named(f, x, said):
    with pytest.raises(ArgumentError, match=said):
        wp.numerical_gradient(f, x)


def test_unknown_methods_and_steps_are_refused():
    with pytest.raises(ArgumentError, match="three-sided"):
        wp.numerical_gradient(abs, 1.0, method="three-sided")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="step is 0"):
        wp.numerical_gradient(abs, 1.0, step=0)


@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        (lambda x: x**2 * 1e300, 1.0, 2e300),
        (lambda x: x * 1e308, 1.0, 1e308),
        (np.exp, 709.0, np.exp(709.0)),
        (lambda x: x * x, 1e154, 2e154),
        (lambda x: x**2 * 1e-290, 1.0, 2e-290),
    ],
)
def test_values_near_the_ends_of_float64_have_derivatives(f, x, expected):
    found = wp.numerical_gradient(f, x)
    assert abs(found.value - expected) <= found.error < 1e-9 * expected


def test_where_f_is_small_by_cancellation_steps_of_a_rounding_see_no_slope():
    """The sum is 24 terms of size 1 that cancel: its rounding is that of the terms, and no rounding of its value tells it."""
    x = np.linspace(-0.95, 0.95, 24).astype(np.float32)
    found = wp.numerical_gradient(lambda t: np.sum(np.arcsin(t)), x, precision="own")
    assert (np.abs(found.value - 1 / np.sqrt(1 - x.astype(float) ** 2)) <= found.error).all()
    # How the processor rounds arcsin decides whether an element or two near 0 are told less sharply.
    assert np.mean(found.error < 1e-3) > 0.9
    assert found.error.max() < 0.1


def test_a_hinge_stands_still_beside_its_corner():
    x = np.array([-0.01, 0.3, -2.0])
    found = wp.numerical_gradient(lambda t: np.sum(np.maximum(t, 0.0)), x)
    assert (np.abs(found.value - (x > 0)) <= found.error).all()
    assert (found.error < 1e-6).all()


@pytest.mark.parametrize("z", [[1 + 1j, 2, 0.5j, -1.5], [2, 0.5j, -1.5, 1 + 1j, 3j, -1 - 2j]])
def test_elements_whose_derivative_vanishes_teach_the_others_no_step(z):
    z = np.array(z, dtype=complex)
    found = wp.numerical_gradient(lambda t: np.sum((1 / t).real), z)
    expected = np.conj(-1 / z**2)
    assert (np.abs(found.value.real - expected.real) <= found.error).all()
    assert (np.abs(found.value.imag - expected.imag) <= found.error).all()
    assert (found.error < 1e-8).all()
