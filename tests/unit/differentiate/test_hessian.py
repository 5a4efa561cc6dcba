"""Hessians against closed forms."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from wellposed.differentiate import hessian
from wellposed.errors import ArgumentError, UserCodeError

S, C, E = np.sin(1), np.cos(1), np.exp(1)
P = np.exp([0.0, 1.0, 2.0]) / np.exp([0.0, 1.0, 2.0]).sum()

CLOSED = {
    # Even about the point, but for a linear term.
    "cos": (lambda x: np.cos(x[0]), [0.0], [[-1.0]]),
    "cosh": (lambda x: np.cosh(x[0]), [0.0], [[1.0]]),
    "log of a square": (lambda x: np.log(1 + x[0] ** 2), [0.0], [[2.0]]),
    "cos of a difference": (lambda x: np.cos(x[0] - x[1]), [1.0, 1.0], [[-1.0, 1.0], [1.0, -1.0]]),
    "cos and a slope": (lambda x: np.cos(x[0]) + x[0], [0.0], [[-1.0]]),
    "a narrow peak": (lambda x: np.exp(-1e6 * x[0] ** 2), [0.0], [[-2e6]]),
    "short waves": (lambda x: np.cos(1000 * x[0]), [0.0], [[-1e6]]),
    "far from zero": (lambda x: np.cos(x[0] - 1e6), [1e6], [[-1.0]]),
    "square": (lambda x: x[0] ** 2, [0.0], [[2.0]]),
    "fourth power": (lambda x: x[0] ** 4, [0.0], [[0.0]]),
    "product": (lambda x: 1 / np.cosh(x[0] * x[1]), [0.0, 1.0], [[-1.0, 0.0], [0.0, 0.0]]),
    "saddle": (lambda x: x[0] * x[1], [0.0, 0.0], [[0.0, 1.0], [1.0, 0.0]]),
    "terms that cancel": (
        lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2,
        [1.0, 1.0],
        [[802.0, -400.0], [-400.0, 200.0]],
    ),
    # Badly scaled.
    "weights 1e12 apart": (
        lambda x: 1e6 * x[0] ** 2 + 1e-6 * x[1] ** 2 + x[0] * x[1],
        [1.0, 1.0],
        [[2e6, 1.0], [1.0, 2e-6]],
    ),
    "arguments 1e8 apart": (
        lambda x: np.sin(1e4 * x[0]) * np.exp(1e-4 * x[1]),
        [1e-4, 1e4],
        [[-1e8 * S * E, C * E], [C * E, 1e-8 * S * E]],
    ),
    "elements 1e8 apart": (
        lambda x: np.sum(np.sin(x)) + x[0] * x[1],
        [1e8, 1.0, 3.0],
        [[-np.sin(1e8), 1.0, 0.0], [1.0, -S, 0.0], [0.0, 0.0, -np.sin(3)]],
    ),
    "steep": (lambda x: np.exp(1000 * x[0]), [0.1], [[1e6 * np.exp(100)]]),
    "beside a pole": (lambda x: 1 / x[0], [1e-3], [[2e9]]),
    "beside a singularity": (lambda x: np.log(x[0]) * x[1], [1e-3, 2.0], [[-2e6, 1e3], [1e3, 0.0]]),
    "an offset": (lambda x: 1e6 + x @ x, [1.0, 2.0], [[2.0, 0.0], [0.0, 2.0]]),
    "huge": (lambda x: 1e300 * x[0] ** 2, [1.0], [[2e300]]),
    "a point near zero": (lambda x: np.cos(x[0]), [1e-6], [[-np.cos(1e-6)]]),
    "a linear one near zero": (lambda x: (1 + x[0]) * (1 + x[1]), [1e-6, 1e-6], [[0.0, 1.0], [1.0, 0.0]]),
    "flat along one": (lambda x: x[0] + np.sin(x[0] * x[1]), [1.0, 0.0], [[0.0, 1.0], [1.0, 0.0]]),
    "log-sum-exp": (lambda x: np.log(np.exp(x).sum()), [0.0, 1.0, 2.0], np.diag(P) - np.outer(P, P)),
    "Rosenbrock": (
        lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2,
        [-1.2, 1.0],
        [[1330.0, 480.0], [480.0, 200.0]],
    ),
    "constant": (lambda x: 3.0, [1.0, 2.0], [[0.0, 0.0], [0.0, 0.0]]),
}

BARS = {"elements 1e8 apart": 1e-2}  # values of 1e8 are rounded to 1e-8


@pytest.mark.parametrize("name", CLOSED)
def test_a_hessian_of_a_closed_form_is_covered_and_sharp(name):
    f, x, expected = CLOSED[name]
    found = hessian(f, np.array(x))
    assert np.all(np.abs(found.value - expected) <= found.error)
    assert found.error.max() <= BARS.get(name, 1e-6) * max(1.0, np.abs(expected).max())
    assert np.array_equal(found.value, found.value.T)
    assert np.array_equal(found.error, found.error.T)


def test_hessians_at_many_points_cover():
    rng = np.random.default_rng(3)
    missed = total = 0
    for _ in range(30):
        a, x = rng.normal(size=(5, 4)), rng.normal(size=4) * (rng.random(4) > 0.2)
        u = np.tanh(a @ x)
        truth = a.T @ ((2 * (1 - u**2) ** 2 - 4 * u**2 * (1 - u**2))[:, None] * a)
        found = hessian(lambda t, a=a: np.sum(np.tanh(a @ t) ** 2), x)
        missed += int((np.abs(found.value - truth) > found.error)[np.triu_indices(4)].sum())
        total += 10
    assert missed <= 0.01 * total


def test_the_evaluations_are_counted_and_few():
    calls = 0

    def f(x):
        nonlocal calls
        calls += 1
        return np.sum(np.sin(x)) * x[0]

    found = hessian(f, np.linspace(0.5, 2, 20))
    assert found.n_evaluations == calls < 14 * 20**2


def test_a_gradient_makes_it_sharp_and_cheap():
    rng = np.random.default_rng(0)
    a, x = rng.normal(size=(30, 50)) / 7, rng.normal(size=50)
    found = hessian(None, x, gradient=lambda t: a.T @ np.tanh(a @ t))
    truth = a.T @ ((1 - np.tanh(a @ x) ** 2)[:, None] * a)
    assert np.mean(np.abs(found.value - truth) <= found.error) > 0.98
    assert found.error.max() < 1e-11
    assert found.n_evaluations < 1000
    assert np.array_equal(found.value, found.value.T)


def test_what_is_no_gradient_has_bars_that_say_so():
    found = hessian(None, np.array([1.0, 2.0]), gradient=lambda t: np.array([t[1], -t[0]]))
    assert found.value[0, 1] == found.value[1, 0]
    assert found.error[0, 1] >= 1


def test_a_tree_gives_trees_in_a_tree():
    x = {"w": np.array([[1.0, 2.0, 0.5]]), "b": torch.tensor(2.0, dtype=torch.float64)}
    found = hessian(lambda p: np.sum(p["w"] ** 2) * float(p["b"]) ** 2, x)
    w = x["w"][0]
    assert found.value["w"]["w"].shape == (1, 3, 1, 3)
    assert np.allclose(found.value["w"]["w"][0, :, 0], 8 * np.eye(3), atol=1e-8)
    assert np.allclose(found.value["b"]["w"], [8 * w], atol=1e-8)
    assert np.allclose(found.value["w"]["b"], [8 * w], atol=1e-8)
    assert abs(found.value["b"]["b"] - 2 * w @ w) <= found.error["b"]["b"]


def test_a_bare_number_has_a_bare_second_derivative():
    found = hessian(lambda t: t**3, 2.0)
    assert abs(found.value - 12) <= found.error < 1e-7


@pytest.mark.parametrize(("module", "made"), [(torch, torch.tensor), (jnp, jnp.asarray)])
def test_tensors_and_jax_arrays_are_evaluated_in_float64(module, made):
    a = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    x = np.linspace(-1, 1, 6).astype(np.float32)
    weights = made(a.astype(np.float64)) if module is torch else a
    found = hessian(lambda t: module.tanh(weights @ t).sum(), made(x))
    b = a.astype(float)
    u = np.tanh(b @ x)
    truth = b.T @ ((-2 * u * (1 - u**2))[:, None] * b)
    assert np.all(np.abs(found.value - truth) <= found.error)
    assert found.error.max() < 1e-6
    assert found.precision == "float64"


def test_float32_throughout_has_wide_bars_that_cover():
    x = np.array([0.5, 1.0, 2.0], dtype=np.float32)
    found = hessian(lambda t: np.sum(np.sin(t)) * t[0], x, precision="own")
    y = x.astype(float)
    truth = np.diag(-np.sin(y)) * y[0]
    truth[0] += np.cos(y)
    truth[:, 0] += np.cos(y)
    assert np.all(np.abs(found.value - truth) <= found.error)
    assert found.error.max() < 0.1


@pytest.mark.parametrize("rounded", [lambda v: np.round(v, 3), lambda v: float(np.float32(v))])
def test_a_staircase_has_the_hessian_of_its_slope_and_not_of_its_stairs(rounded):
    rng = np.random.default_rng(5)
    for _ in range(4):
        a, x = rng.normal(size=(3, 3)), rng.normal(size=3)
        u = np.tanh(a @ x)
        truth = a.T @ ((-2 * u * (1 - u**2))[:, None] * a) + 2 * np.eye(3)
        found = hessian(lambda t, a=a: rounded(np.sum(np.tanh(a @ t))) + t @ t, x)
        assert np.all(np.abs(found.value - truth) <= found.error)


@pytest.mark.parametrize("x", [[0.0, 0.3], [0.0, 1.0], [1.0, 1e-9], [0.5, 1 - 1e-6], [1e-4, 0.0]])
def test_within_bounds_no_point_lies_outside(x):
    def f(t):
        assert np.all(t >= 0)
        assert np.all(t <= 1)
        return np.exp(t[0]) * np.sin(2 * t[1])

    a, b = np.exp(x[0]), 2 * x[1]
    mixed = 2 * a * np.cos(b)
    truth = np.array([[a * np.sin(b), mixed], [mixed, -4 * a * np.sin(b)]])
    found = hessian(f, np.array(x), bounds=(0, 1))
    assert np.all(np.abs(found.value - truth) <= found.error)
    assert found.error.max() < 1e-4


def test_beside_the_end_of_its_domain_it_is_one_sided():
    found = hessian(lambda t: t[0] ** 3.5 + t[0] * t[1], np.array([0.0, 1.0]))
    assert found.method == "mixed"
    assert np.all(np.abs(found.value - [[0, 1], [1, 0]]) <= found.error)


def test_a_kink_has_no_second_derivative():
    found = hessian(lambda t: np.abs(t[0]) + t[1] ** 2, np.array([0.0, 1.0]))
    assert found.kink.tolist() == [[True, False], [False, False]]
    assert found.error[0, 0] == np.inf


@pytest.mark.parametrize(
    ("f", "x", "options", "said"),
    [
        (None, [1.0], {}, "f is None and no gradient"),
        (np.sum, [1j], {}, "x is complex"),
        (np.sum, [], {}, "x is empty"),
        (np.sum, [np.nan], {}, "1 value that is not finite"),
        (np.sin, [1.0, 2.0], {}, "expected one real number"),
        (3, [1.0], {}, "f is 3"),
        (np.sum, [1.0], {"gradient": 3}, "gradient is 3"),
        (
            None,
            [1.0, 2.0],
            {"gradient": lambda t: t[:1]},
            r"gradient\(x\) has shape \(1,\) where x has \(2,\)",
        ),
        (np.sum, [1.0], {"precision": "half"}, "precision is 'half'"),
        (np.sum, [1.0], {"bounds": (2, 3)}, "outside of 2 to 3"),
    ],
)
def test_what_makes_no_sense_is_refused(f, x, options, said):
    with pytest.raises(ArgumentError, match=said):
        hessian(f, np.array(x), **options)


def test_what_f_raises_comes_through():
    def f(t):
        raise KeyError("weights")

    with pytest.raises(UserCodeError, match="KeyError"):
        hessian(f, np.ones(2))


def test_a_gradient_is_paired_with_x_by_key():
    found = hessian(None, {"a": 1.0, "b": 2.0}, gradient=lambda p: {"b": 4 * p["b"], "a": p["a"]})
    assert abs(found.value["a"]["a"] - 1) <= found.error["a"]["a"] < 1e-9
    assert abs(found.value["b"]["b"] - 4) <= found.error["b"]["b"] < 1e-9
    assert abs(found.value["a"]["b"]) <= found.error["a"]["b"] < 1e-9


@pytest.mark.parametrize(
    ("gradient", "said"),
    [
        (lambda w: (w**3).T, r"gradient\(x\) has shape \(3, 2\) where x has \(2, 3\)"),
        (lambda w: {"w": w}, "gradient.x. is a dict"),
        (lambda w: None, r"gradient\(x\) is None"),
        (lambda w: w * np.nan, r"gradient\(x\) is an array with values that are not finite"),
        (lambda w: w + 1j, r"gradient\(x\) is complex where x is real"),
        (lambda w: np.where(w == 1, w, np.nan), "gradient is not finite beside x"),
    ],
)
def test_a_gradient_that_does_not_fit_is_named(gradient, said):
    with pytest.raises(ArgumentError, match=said):
        hessian(None, np.ones((2, 3)), gradient=gradient)


def test_what_the_gradient_raises_is_said_of_the_gradient():
    def gradient(t):
        raise KeyError("weights")

    with pytest.raises(UserCodeError, match="gradient raised KeyError"):
        hessian(None, np.ones(2), gradient=gradient)


KINKS = {  # a function whose slope has a kink at x, and its second derivatives to all sides
    "Huber": (lambda t: t[0] ** 2 / 2 if abs(t[0]) <= 1 else abs(t[0]) - 0.5, [1.0], [[[0, 1]]]),
    "squared hinge": (lambda t: max(t[0] - 0.3, 0) ** 2, [0.3], [[[0, 2]]]),
    "with a smooth part": (
        lambda t: (1 + 2 * (t[0] > 0.3)) * (t[0] - 0.3) ** 2 + np.sin(t[0]),
        [0.3],
        [[[2 - np.sin(0.3), 6 - np.sin(0.3)]]],
    ),
    "of a difference": (
        lambda t: max(t[0] - t[1], 0) ** 2,
        [0.7, 0.7],
        [[[0, 2], [-2, 0]], [[-2, 0], [0, 2]]],
    ),
}


@pytest.mark.parametrize("name", KINKS)
def test_a_kink_in_the_slope_is_covered_to_all_sides(name):
    f, x, ends = KINKS[name]
    found = hessian(f, np.array(x))
    assert np.all(found.kink)
    assert np.all(np.abs(np.array(ends) - found.value[..., None]) <= found.error[..., None])
    assert found.error.max() < 2.2


def test_a_kink_of_one_element_leaves_the_others_sharp():
    found = hessian(lambda t: sum(max(a, 0) ** 2 for a in t), np.array([0.0, 0.0, 1.0]))
    assert found.kink.tolist() == [[True, False, False], [False, True, False], [False, False, False]]
    assert (found.error + np.diag([-1.1, -1.1, 0])).max() < 1e-10


@pytest.mark.parametrize(
    ("f", "x", "bounds"),
    [
        (lambda t: float(t[0] >= 0.5), 0.5, None),
        (lambda t: np.cbrt(t[0]), 0.0, None),
        (lambda t: math.sqrt(t[0]), 0.0, (0, None)),
        (lambda t: math.sqrt(1 - t[0]), 1.0, None),
    ],
)
def test_a_second_derivative_without_end_has_an_endless_bar(f, x, bounds):
    found = hessian(f, np.array([x]), bounds=bounds)
    assert found.kink.all()
    assert found.error[0, 0] == np.inf
