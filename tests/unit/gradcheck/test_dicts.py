"""NumPy functions of a dict of parameters with a dict of gradients, as exercises of courses write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wellposed as wp
from wellposed.errors import ArgumentError

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(4, 20)), (RNG.random((1, 20)) < 0.5).astype(float)
PARAMETERS = {
    "W1": RNG.normal(size=(5, 4)),
    "b1": RNG.normal(size=(5, 1)),
    "W2": RNG.normal(size=(1, 5)),
    "b2": np.zeros((1, 1)),
    "activation": "tanh",
    "layers": 2,
}


def forward(p: dict[str, Any]) -> tuple[Any, Any]:
    hidden = np.tanh(p["W1"] @ X + p["b1"])
    return hidden, 1 / (1 + np.exp(-(p["W2"] @ hidden + p["b2"])))


def cost(p: dict[str, Any]) -> float:
    _, a = forward(p)
    return float(-np.mean(Y * np.log(a) + (1 - Y) * np.log(1 - a)))


def gradients(p: dict[str, Any]) -> dict[str, Any]:
    m, (hidden, a) = X.shape[1], forward(p)
    dz2 = a - Y
    dz1 = (p["W2"].T @ dz2) * (1 - hidden**2)
    return {
        "dZ2": dz2,
        "dW2": dz2 @ hidden.T / m,
        "db2": dz2.sum(axis=1, keepdims=True) / m,
        "dW1": dz1 @ X.T / m,
        "db1": dz1.sum(axis=1, keepdims=True) / m,
    }


@pytest.mark.parametrize("claimed", [gradients, gradients(PARAMETERS)], ids=["function", "dict"])
def test_a_course_exercise_passes(claimed: Any) -> None:
    check = wp.check_gradients(cost, PARAMETERS, gradient=claimed)
    assert check.verdict == "pass"
    assert [t.name for t in check.tensors] == ["p['W1']", "p['b1']", "p['W2']", "p['b2']"]


def test_its_wrong_twin_is_named_by_the_entry() -> None:
    def wrong(p: dict[str, Any]) -> dict[str, Any]:
        found = gradients(p)
        return {**found, "dW1": 2 * found["dW1"], "db1": 4.0 / 20 * np.ones((5, 1))}

    check = wp.check_gradients(cost, PARAMETERS, gradient=wrong)
    assert check.verdict == "fail"
    assert {t.name for t in check.failed} == {"p['W1']", "p['b1']"}
    assert next(t for t in check.tensors if t.name == "p['W1']").cause == "scaled"


def test_dicts_in_dicts_and_beside_arrays() -> None:
    def f(p: dict[str, Any], x: Any) -> float:
        return float(np.sum(p["first"]["w"] * x) ** 2)

    def g(p: dict[str, Any], x: Any) -> tuple[Any, Any]:
        total = 2 * np.sum(p["first"]["w"] * x)
        return {"first": {"w": total * x}}, total * p["first"]["w"]

    check = wp.check_gradients(f, {"first": {"w": np.arange(3.0)}}, np.ones(3), gradient=g)
    assert check.verdict == "pass"
    assert [t.name for t in check.tensors] == ["p['first']['w']", "x"]


def test_the_users_dicts_are_left_as_they_are() -> None:
    def writes(p: dict[str, Any]) -> float:
        p["cache"] = 1
        p["W1"] *= 1.0
        return cost(p)

    before = {k: np.copy(v) for k, v in PARAMETERS.items()}
    assert wp.check_gradients(writes, PARAMETERS, gradient=gradients)
    assert list(PARAMETERS) == list(before)
    assert all(np.array_equal(PARAMETERS[k], v) for k, v in before.items())


@pytest.mark.parametrize(
    ("claimed", "said"),
    [
        ({"dW1": 0}, r"gradient has no entry for p\['b1'\]: expected 'b1' or 'db1' in it"),
        (np.ones(3), r"gradient of p is a ndarray: expected a dict like it"),
        ({**gradients(PARAMETERS), "dW2": np.ones(2)}, r"gradient of p\['W2'\] has shape \(2,\)"),
    ],
)
def test_a_gradient_that_does_not_fit_is_refused_by_the_entry(claimed: Any, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        wp.check_gradients(cost, PARAMETERS, gradient=claimed)
