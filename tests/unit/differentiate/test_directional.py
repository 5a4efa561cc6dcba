"""Derivatives along directions, Jacobians and Hessian-vector products."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from wellposed.differentiate import directional_derivative, hessian_vector, jacobian, numerical_gradient
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
    [
        (np.ones(3), r"direction has shape \(3,\) where x has \(2,\)"),
        (np.zeros(2), "zero"),
        (np.array([1, 1j]), "complex"),
    ],
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


@pytest.mark.parametrize(
    "made", [np.asarray, torch.tensor, lambda v: jnp.asarray(np.asarray(v, dtype=np.float32))]
)
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1, 3)])
def test_a_jacobian_of_outputs_of_any_shape_in_any_framework(made, shape):
    x = made([0.5, 1.0, -2.0])
    plain = np.asarray(x, dtype=np.float64)
    calls = 0

    def f(t):
        nonlocal calls
        calls += 1
        module: Any = torch if isinstance(t, torch.Tensor) else jnp if isinstance(t, jax.Array) else np
        outputs = [module.sin(t[i % 3]) * t[2] for i in range(int(np.prod(shape)))]
        return module.stack(outputs).reshape(shape)

    found = jacobian(f, x)
    assert found.value.shape == (*shape, 3)
    rows = found.value.reshape(-1, 3)
    for i, row in enumerate(rows):
        k = i % 3
        truth = np.zeros(3)
        truth[k] += np.cos(plain[k]) * plain[2]
        truth[2] += np.sin(plain[k])
        assert np.all(np.abs(row - truth) <= found.error.reshape(-1, 3)[i])
    assert calls < 400  # whatever the number of outputs: one evaluation serves all of them


def test_a_gradient_of_several_outputs_is_sent_to_the_jacobian():
    with pytest.raises(ArgumentError, match="take the jacobian of wellposed"):
        numerical_gradient(np.sin, np.ones(2))


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
    with pytest.raises(ArgumentError, match=r"gradient\(x\) has shape \(3,\) where x has \(2,\)"):
        hessian_vector(None, np.ones(2), np.ones(2), gradient=lambda t: np.ones(3))


EVEN = {
    "cos": (lambda x: np.cos(x[0]), [0.0], [1.0], [-1.0]),
    "cos of a difference": (lambda x: np.cos(x[0] - x[1]), [1.0, 1.0], [1.0, 0.0], [-1.0, 1.0]),
    "cosh": (lambda x: np.cosh(x[0]), [0.0], [1.0], [1.0]),
    "log": (lambda x: np.log(1 + x[0] ** 2), [0.0], [1.0], [2.0]),
    "cos and a slope": (lambda x: np.cos(x[0]) + x[0], [0.0], [1.0], [-1.0]),
    "a narrow peak": (lambda x: np.exp(-1e6 * x[0] ** 2), [0.0], [1.0], [-2e6]),
    "short waves": (lambda x: np.cos(1000 * x[0]), [0.0], [1.0], [-1e6]),
    "far from zero": (lambda x: np.cos(x[0] - 1e6), [1e6], [1.0], [-1.0]),
    "square": (lambda x: x[0] ** 2, [0.0], [1.0], [2.0]),
    "fourth power": (lambda x: x[0] ** 4, [0.0], [1.0], [0.0]),
    "product": (lambda x: 1 / np.cosh(x[0] * x[1]), [0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]),
    "terms that cancel": (lambda x: 100 * (x[1] - x[0] ** 2) ** 2, [1.0, 1.0], [1.0, 0.0], [800.0, -400.0]),
}


@pytest.mark.parametrize("name", EVEN)
def test_a_hessian_where_differences_to_both_sides_cancel_covers(name):
    f, x, v, expected = EVEN[name]
    found = hessian_vector(f, np.array(x), np.array(v))
    assert (np.abs(found.value - expected) <= found.error).all()
    assert (found.error < 1e-6 * max(1.0, np.abs(expected).max())).all()


def test_a_hessian_covers_at_symmetric_and_other_points(rng):
    A = rng.normal(size=(3, 3))
    S = A @ A.T
    functions = [
        (lambda x: x @ S @ x / 2, lambda x: S),
        (lambda x: np.cos(x.sum()), lambda x: -np.cos(x.sum()) * np.ones((3, 3))),
        (lambda x: np.exp(-x @ x), lambda x: np.exp(-x @ x) * (4 * np.outer(x, x) - 2 * np.eye(3))),
        (lambda x: 1e6 + x @ x, lambda x: 2 * np.eye(3)),
    ]
    missed = 0
    for f, hessian in functions:
        for x in (np.zeros(3), np.ones(3), *rng.normal(size=(8, 3))):
            v = rng.normal(size=3)
            found = hessian_vector(f, x, v)
            missed += int((np.abs(found.value - hessian(x) @ v) > found.error).sum())
    assert missed == 0


def test_a_direction_is_paired_with_x_by_key():
    found = directional_derivative(lambda p: p["a"] * p["b"], {"a": 1.0, "b": 2.0}, {"b": 0.0, "a": 1.0})
    assert abs(found.value - 2.0) <= found.error < 1e-9
    with pytest.raises(ArgumentError, match=r"direction holds \['b'\] where x holds \['a'\], \['b'\]"):
        directional_derivative(lambda p: p["a"], {"a": 1.0, "b": 2.0}, {"b": 0.0})


def test_a_gradient_is_paired_with_x_by_key():
    found = hessian_vector(
        None,
        {"a": 1.0, "b": 2.0},
        {"b": 0.0, "a": 1.0},
        gradient=lambda p: {"b": 4 * p["b"], "a": p["a"]},
    )
    assert abs(found.value["a"] - 1) <= found.error["a"] < 1e-9
    assert abs(found.value["b"]) <= found.error["b"] < 1e-9


@pytest.mark.parametrize(
    ("v", "said"), [(None, "v is None"), (np.zeros(2), "v is zero"), (np.array([1, np.nan]), "v holds")]
)
def test_a_vector_that_makes_no_sense_is_refused(v, said):
    with pytest.raises(ArgumentError, match=said):
        hessian_vector(None, np.ones(2), v, gradient=np.sin)
