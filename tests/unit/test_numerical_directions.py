"""Derivatives along directions, Jacobians and Hessian-vector products."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wellposed.differentiate import directional_derivative, hessian_vector, jacobian
from wellposed.errors import ArgumentError


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_a_direction_costs_as_much_as_one_number(rng):
    x, d = rng.normal(size=(2, 3000))
    found = directional_derivative(lambda t: np.sum(np.sin(t)), x, d)
    assert abs(found.value - np.cos(x) @ d) <= found.error < 1e-10
    assert found.n_evaluations < 80


def test_a_direction_in_float32_covers(rng):
    x, d = rng.normal(size=(2, 300)).astype(np.float32)
    found = directional_derivative(lambda t: np.sum(np.sin(t)), x, d, precision="own")
    assert abs(found.value - np.cos(x.astype(float)) @ d.astype(float)) <= found.error < 1e-2


def test_a_direction_through_a_pytree():
    x = {"a": torch.tensor([1.0, 2.0]), "b": 3.0}
    found = directional_derivative(lambda p: (p["a"] ** 2).sum() * p["b"], x, {"a": torch.ones(2), "b": 1.0})
    assert abs(found.value - (3 * 6 + 5)) <= found.error < 1e-9


def test_several_outputs_along_a_direction(rng):
    x, d = rng.normal(size=(2, 4))
    found = directional_derivative(np.sin, x, d)
    assert found.value.shape == (4,)
    assert np.all(np.abs(found.value - np.cos(x) * d) <= found.error)


@pytest.mark.parametrize(
    ("direction", "said"),
    [(np.ones(3), r"shapes \(3,\)"), (np.zeros(2), "zero"), (np.array([1, 1j]), "complex")],
)
def test_a_direction_that_does_not_fit_is_refused(direction, said):
    with pytest.raises(ArgumentError, match=said):
        directional_derivative(np.sum, np.ones(2), direction)


def test_a_jacobian_has_the_outputs_in_front(rng):
    a, x = rng.normal(size=(3, 2, 4)), rng.normal(size=4)
    found = jacobian(lambda t: np.tanh(a @ t), x)
    truth = (1 - np.tanh(a @ x) ** 2)[:, :, None] * a
    assert found.value.shape == (3, 2, 4)
    assert np.all(np.abs(found.value - truth) <= found.error)
    assert found.error.max() < 1e-10


def test_a_jacobian_of_a_pytree():
    found = jacobian(lambda p: p["a"] * p["b"], {"a": np.array([1.0, 2.0]), "b": 3.0})
    assert np.allclose(found.value["a"], [[3.0, 0.0], [0.0, 3.0]])
    assert np.allclose(found.value["b"], [1.0, 2.0])


def test_a_hessian_from_gradients_is_cheap_and_sharp(rng):
    x, v = rng.normal(size=(2, 200))
    found = hessian_vector(None, x, v, gradient=np.cos)
    assert np.mean(np.abs(found.value + np.sin(x) * v) <= found.error) > 0.98
    assert found.error.max() < 1e-10
    assert found.n_evaluations < 100


def test_a_hessian_from_values_covers(rng):
    a = rng.normal(size=(3, 4))
    x, v = rng.normal(size=(2, 4))

    def f(t):
        return np.sum(np.sin(a @ t))

    truth = -a.T @ (np.sin(a @ x) * (a @ v))
    found = hessian_vector(f, x, v)
    assert np.all(np.abs(found.value - truth) <= found.error)
    assert found.error.max() < 1e-6


def test_a_hessian_needs_something_to_differentiate():
    with pytest.raises(ArgumentError, match="f is None"):
        hessian_vector(None, np.ones(2), np.ones(2))
    with pytest.raises(ArgumentError, match="complex"):
        hessian_vector(np.sum, np.ones(2) + 0j, np.ones(2))
    with pytest.raises(ArgumentError, match="3 numbers for 2 elements"):
        hessian_vector(None, np.ones(2), np.ones(2), gradient=lambda t: np.ones(3))
