"""Derivatives of functions that may be evaluated within bounds alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime

import wellposed as wp
from wellposed.differentiate import hessian, jacobian
from wellposed.errors import ArgumentError

PLACES = [0.0, 1e-12, 1e-9, 1e-6, 1e-3, 0.5, 1 - 1e-9, 1.0]
FUNCTIONS = {
    "exp": (np.exp, np.exp),
    "sine": (lambda x: np.sin(5 * x), lambda x: 5 * np.cos(5 * x)),
    "offset": (lambda x: 1e6 + x**3, lambda x: 3 * x**2),
    "steep": (lambda x: np.tanh(30 * x), lambda x: 30 / np.cosh(30 * x) ** 2),
    "root": (lambda x: np.sqrt(x + 0.01), lambda x: 0.5 / np.sqrt(x + 0.01)),
}


def within(f, low, high):
    """F, which fails the test where it is called outside."""

    def guarded(x):
        for part in x.values() if isinstance(x, dict) else [x]:
            assert np.all(np.asarray(part) >= low)
            assert np.all(np.asarray(part) <= high)
        return f(x)

    return guarded


@pytest.mark.parametrize("x", PLACES)
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("method", ["auto", "one-sided"])
def test_on_and_beside_a_bound_the_bar_covers(name, x, method):
    f, derivative = FUNCTIONS[name]
    found = wp.numerical_gradient(within(f, 0, 1), x, bounds=(0, 1), method=method)
    assert abs(found.value - derivative(x)) <= found.error


@pytest.mark.parametrize("x", PLACES)
def test_the_nearness_of_a_bound_costs_few_digits(x):
    found = wp.numerical_gradient(within(np.exp, 0, 1), x, bounds=(0, 1))
    assert found.error < 1e-6
    assert found.n_evaluations < 120


def test_bounds_that_are_far_change_no_bit():
    def f(w):
        return np.sum(np.sin(w))

    x = np.linspace(0.5, 2, 20)
    free, bounded = wp.numerical_gradient(f, x), wp.numerical_gradient(f, x, bounds=(-100, None))
    assert np.array_equal(free.value, bounded.value)
    assert np.array_equal(free.error, bounded.error)


def test_elements_of_one_array_stand_on_their_own_bounds():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, 60)
    x[:10], x[10:20], x[20:25] = 0, 1, 1e-7
    found = wp.numerical_gradient(within(lambda w: np.sum(np.sin(3 * w)), 0, 1), x, bounds=(np.zeros(60), 1))
    assert np.all(np.abs(found.value - 3 * np.cos(3 * x)) <= found.error)
    assert found.error.max() < 1e-8
    assert found.method == "mixed"


def test_sharper_than_scipys_forward_differences():
    x = np.array([0.0, 1.0, 0.3])
    truth = 3 * np.cos(3 * x)
    found = wp.numerical_gradient(lambda w: np.sum(np.sin(3 * w)), x, bounds=(0, 1))
    theirs = approx_fprime(x, lambda w: np.sum(np.sin(3 * w)))  # leaves the bounds
    assert np.abs(found.value - truth).max() < 1e-2 * np.abs(theirs - truth).max()


def test_a_jacobian_within_bounds():
    x = np.array([0.0, 0.4, 1.0])
    found = jacobian(within(lambda w: np.outer(np.exp(w), w), 0, 1), x, bounds=(0, 1))
    identity = np.eye(3)
    truth = np.einsum("ik,i,j->ijk", identity, np.exp(x), x) + np.einsum("jk,i->ijk", identity, np.exp(x))
    assert found.value.shape == (3, 3, 3)
    assert np.all(np.abs(found.value - truth) <= found.error)
    assert found.error.max() < 1e-9


def test_bounds_of_a_tree_have_its_structure():
    x = {"rate": 0.0, "w": torch.tensor([0.0, 1.0], dtype=torch.float64)}
    low, high = {"rate": 0.0, "w": np.zeros(2)}, {"rate": 1.0, "w": 1.0}
    found = wp.numerical_gradient(
        within(lambda p: p["rate"] * 2 + (p["w"] ** 2).sum(), 0, 1), x, bounds=(low, high)
    )
    assert abs(found.value["rate"] - 2) <= found.error["rate"]
    assert np.all(np.abs(found.value["w"] - [0, 2]) <= found.error["w"])


def test_a_batch_of_points_stays_within_bounds_too():
    x = torch.linspace(0, 1, 200, dtype=torch.float64)
    found = wp.numerical_gradient(lambda w: (w.sqrt() * w).sum(), x, bounds=(0, 1))
    truth = 1.5 * np.sqrt(x.numpy())
    assert np.all(np.abs(found.value - truth) <= found.error)


def test_one_step_is_turned_away_from_the_bound():
    found = wp.numerical_gradient(within(np.exp, 0, 1), 0.95, bounds=(0, 1), step=0.1)
    assert found.method == "one-sided"
    assert abs(found.value - np.exp(0.95)) <= found.error


def test_a_float32_point_stays_within_in_its_own_precision():
    x = np.array([0.0, 0.1, 1.0], dtype=np.float32)
    found = wp.numerical_gradient(
        within(lambda w: np.sum(w**2), 0, 1), x, bounds=(np.float32(0), 1), precision="own"
    )
    assert np.all(np.abs(found.value - 2 * x.astype(float)) <= found.error)


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ((0.5, 1), r"at element \(0,\): x is 0, outside of 0.5 to 1"),
        ((1, 0), "low is 1 and high is 0"),
        ((0, 0), r"low and high are both 0|outside of 0 to 0"),
        ((np.nan, 1), "low holds NaN"),
        ((0, [1, 2, 3]), r"high has shape \(3,\)"),
        ((0, "one"), "high is 'one'"),
        ((True, 1), "low is True"),
        ((0, 1j), "high is 1j"),
        ((0, iter([1, 2])), "high is a list_iterator"),
        (([[1], [1, 2]], 1), "low is a list of 2"),
        (({"a": 0}, 1), "low is a dict of 1"),
        (1.0, "bounds is 1.0: expected a pair"),
        ((0,), "a tuple of 1: expected a pair"),
        ("01", "'01': expected a pair"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(bounds, said):
    with pytest.raises(ArgumentError, match=said):
        wp.numerical_gradient(np.sum, np.array([0.0, 1.0]), bounds=bounds)


def test_a_structure_that_does_not_fit_is_refused():
    with pytest.raises(ArgumentError, match=r"low holds \['b'\] where x holds \['a'\]"):
        wp.numerical_gradient(lambda p: p["a"] ** 2, {"a": 1.0}, bounds=({"b": 0.0}, None))


def test_a_complex_x_has_no_bounds():
    with pytest.raises(ArgumentError, match="bounds of a complex x"):
        wp.numerical_gradient(abs, 1 + 1j, bounds=(0, 2))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"method": "two-sided"}, "stands on its bound"), ({"step": 2.0}, "step is 2, longer than the bounds")],
)
def test_what_the_bounds_leave_no_room_for_is_refused(options, said):
    with pytest.raises(ArgumentError, match=said):
        wp.numerical_gradient(np.exp, 1.0, bounds=(0, 1), **options)


@pytest.mark.parametrize("low", [{"a": None, "b": [0, 1]}, {"b": [None, 1.0], "a": -1}, {"a": -1, "b": None}])
def test_none_and_lists_may_stand_inside_bounds(low):
    x = {"a": 0.0, "b": np.array([0.0, 1.0])}
    found = wp.numerical_gradient(lambda p: p["a"] + np.sum(p["b"] ** 2), x, bounds=(low, None))
    assert abs(found.value["a"] - 1) <= found.error["a"]
    assert np.all(np.abs(found.value["b"] - [0, 2]) <= found.error["b"])


def test_none_in_a_list_of_bounds_is_no_bound():
    seen = []

    def f(w):
        seen.append(w)
        return np.sum(w**2)

    found = wp.numerical_gradient(f, np.zeros(3), bounds=([0, None, 0], None))
    assert np.all(np.abs(found.value) <= found.error)
    assert (np.min(seen, axis=0) < 0).tolist() == [False, True, False]


def test_x_may_be_a_bound_rounded_to_its_dtype():
    x = np.float32([0.1, 0.7])
    found = wp.numerical_gradient(lambda w: np.sum(w**2), x, bounds=(0, [0.1, 0.7]))
    assert np.all(np.abs(found.value - 2 * x.astype(float)) <= found.error)
    with pytest.raises(ArgumentError, match=r"outside of 0 to 0\.1"):
        wp.numerical_gradient(np.sum, np.nextafter(np.float32(0.1), np.float32(1)), bounds=(0, 0.1))


@pytest.mark.parametrize("derivative", [wp.numerical_gradient, hessian])
def test_bounds_that_leave_room_for_roundings_alone_are_named(derivative):
    with pytest.raises(ArgumentError, match=r"bounds at element \(0,\): x can move by .* at most"):
        derivative(lambda w: w[0] ** 2, np.ones(1), bounds=(np.nextafter(1.0, 0), 1))


def test_masked_bounds_are_refused():
    with pytest.raises(ArgumentError, match="low is a masked array"):
        wp.numerical_gradient(np.sum, np.zeros(2), bounds=(np.ma.array([0, 1], mask=[0, 1]), None))
