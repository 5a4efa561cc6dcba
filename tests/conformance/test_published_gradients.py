"""The Deep Learning Specialization's own gradient-checking exercise, and its published numbers.

Course 2, week 1: a three-layer net with 47 parameters, two bugs planted in its backward pass, and the formula
``|approx - grad| / (|approx| + |grad|)`` with differences of 1e-7.
"""

from __future__ import annotations

import numpy as np
import pytest

import wellposed as wp

SHAPES = ((5, 4), (5, 1), (3, 5), (3, 1), (1, 3), (1, 1))


@pytest.fixture
def exercise():
    """Inputs, labels and parameters in the order in which the exercise draws them."""
    rng = np.random.RandomState(1)  # the published numbers are of this generator
    x = rng.randn(4, 3)
    return x, np.array([[1, 1, 0]]), tuple(rng.randn(*shape) for shape in SHAPES)


def forward(x, parameters):
    w1, b1, w2, b2, w3, b3 = parameters
    a1 = np.maximum(0, w1 @ x + b1)
    a2 = np.maximum(0, w2 @ a1 + b2)
    return a1, a2, 1 / (1 + np.exp(-(w3 @ a2 + b3)))


def cost(x, y, parameters):
    a3 = forward(x, parameters)[2]
    logprobs = -np.log(a3) * y - np.log(1 - a3) * (1 - y)
    return 1.0 / x.shape[1] * np.sum(logprobs)


def gradients(x, y, parameters, *, planted):
    _, _, w2, _, w3, _ = parameters
    m = x.shape[1]
    a1, a2, a3 = forward(x, parameters)
    dz3 = a3 - y
    dz2 = (w3.T @ dz3) * (a2 > 0)
    dz1 = (w2.T @ dz2) * (a1 > 0)
    return (
        dz1 @ x.T / m,
        dz1.sum(1, keepdims=True) * (4 if planted else 1) / m,
        dz2 @ a1.T / m * (2 if planted else 1),
        dz2.sum(1, keepdims=True) / m,
        dz3 @ a2.T / m,
        dz3.sum(1, keepdims=True) / m,
    )


def joined(arrays):
    return np.concatenate([a.reshape(-1) for a in arrays])


def parted(vector):
    ends = np.cumsum([np.prod(shape) for shape in SHAPES])[:-1]
    return tuple(part.reshape(shape) for part, shape in zip(np.split(vector, ends), SHAPES, strict=True))


def published_number(x, y, parameters, *, planted, step=1e-7):
    theta = joined(parameters)
    approximate = np.zeros_like(theta)
    for i in range(theta.size):
        up, down = theta.copy(), theta.copy()
        up[i] += step
        down[i] -= step
        approximate[i] = (cost(x, y, parted(up)) - cost(x, y, parted(down))) / (2 * step)
    analytic = joined(gradients(x, y, parameters, planted=planted))
    return np.linalg.norm(analytic - approximate) / (np.linalg.norm(analytic) + np.linalg.norm(approximate))


def test_the_courses_formula_gives_the_published_numbers(exercise):
    assert published_number(*exercise, planted=True) == pytest.approx(0.285093156781, abs=1e-9)
    # Mended, only the rounding of two costs is left, and its last digits depend on the matrix product.
    assert published_number(*exercise, planted=False) == pytest.approx(1.189e-7, rel=0.01)


def test_our_differences_with_the_courses_step_give_the_same(exercise):
    x, y, parameters = exercise
    theta = joined(parameters)
    approximate = wp.numerical_gradient(lambda t: cost(x, y, parted(t)), theta, step=1e-7)
    analytic = joined(gradients(x, y, parameters, planted=True))
    number = np.linalg.norm(analytic - approximate.value) / (
        np.linalg.norm(analytic) + np.linalg.norm(approximate.value)
    )
    assert number == pytest.approx(0.285093156781, abs=1e-7)


def check(exercise, *, planted):
    x, y, parameters = exercise
    return wp.check_gradients(
        lambda w1, b1, w2, b2, w3, b3: cost(x, y, (w1, b1, w2, b2, w3, b3)),
        *parameters,
        gradient=gradients(x, y, parameters, planted=planted),
    )


def test_the_check_finds_both_planted_bugs_and_nothing_else(exercise):
    found = check(exercise, planted=True)
    assert found.verdict == "fail"
    assert [t.name for t in found.failed] == ["b1", "w2"]
    assert found.relative_error == pytest.approx(0.285093156781, abs=1e-7)


def test_the_mended_exercise_passes_with_a_far_smaller_number(exercise):
    found = check(exercise, planted=False)
    assert found, str(found)
    assert found.relative_error < 1e-8


def test_our_own_steps_are_a_thousand_times_closer_than_the_courses(exercise):
    x, y, parameters = exercise
    approximate = wp.numerical_gradient(lambda t: cost(x, y, parted(t)), joined(parameters))
    error = np.abs(approximate.value - joined(gradients(x, y, parameters, planted=False)))
    assert np.all(error <= approximate.error)
    assert np.linalg.norm(error) < 1e-3 * 1.189e-7 * np.linalg.norm(approximate.value)
