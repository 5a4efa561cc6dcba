"""Hand-written Jacobians of NumPy functions of several outputs."""

from __future__ import annotations

import numpy as np
import pytest

import wellposed as wp
from wellposed.errors import ArgumentError

RNG = np.random.default_rng(0)
A, X = RNG.normal(size=(3, 4)), RNG.normal(size=4)


def layer(x):
    return np.tanh(A @ x)


def jacobian(x):
    return (1 - np.tanh(A @ x) ** 2)[:, None] * A


@pytest.mark.parametrize("gradient", [jacobian, jacobian(X), jacobian(X).tolist()])
def test_a_right_jacobian_passes_in_some_forty_evaluations(gradient):
    check = wp.check_gradients(layer, X, gradient=gradient)
    assert check.verdict == "pass"
    assert check.resolution < 1e-6
    assert check.n_forward < 60


@pytest.mark.parametrize("output", range(3))
@pytest.mark.parametrize("element", range(4))
def test_a_wrong_element_is_told_by_output_and_input(output, element):
    wrong = jacobian(X)
    wrong[output, element] += 0.2
    check = wp.check_gradients(layer, X, gradient=wrong)
    assert check.verdict == "fail"
    assert check.worst is not None
    assert check.worst.place == f"d f[{output}] / d x[{element}]"
    assert check.worst.analytic == wrong[output, element]
    assert abs(check.worst.numerical - jacobian(X)[output, element]) <= check.worst.bar


def test_errors_that_cancel_in_the_sum_over_outputs_are_seen():
    wrong = jacobian(X)
    wrong[0, 1] += 0.1
    wrong[1, 1] -= 0.1
    assert wp.check_gradients(layer, X, gradient=wrong).verdict == "fail"


@pytest.mark.parametrize(
    ("change", "cause"),
    [(lambda j: -j, "sign-flipped"), (lambda j: 2 * j, "scaled"), (lambda j: 0 * j, "zero")],
)
def test_bugs_of_the_whole_jacobian_are_named(change, cause):
    assert wp.check_gradients(layer, X, gradient=change(jacobian(X))).cause == cause


def test_a_transposed_jacobian_is_named():
    square = A[:, :3]
    check = wp.check_gradients(
        lambda x: np.tanh(square @ x),
        X[:3],
        gradient=lambda x: ((1 - np.tanh(square @ x) ** 2)[:, None] * square).T,
    )
    assert check.cause == "transposed"


def test_several_inputs_and_outputs_of_several_axes():
    x, w = RNG.normal(size=(5, 4)), RNG.normal(size=(4, 2))
    by_x = np.einsum("ia,bj->ijab", np.eye(5), w)
    by_w = np.einsum("ia,jb->ijab", x, np.eye(2))
    assert wp.check_gradients(lambda x, w: x @ w, x, w, gradient=(by_x, by_w))
    by_w[4] = 0  # the last sample left out
    check = wp.check_gradients(lambda x, w: x @ w, x, w, gradient=(by_x, by_w))
    assert (check.verdict, check.cause) == ("fail", "mask")
    assert check.worst is not None
    assert check.worst.place.startswith("d f[4, ")


def test_entries_of_a_dict_have_jacobians_of_their_own():
    w = RNG.normal(size=(4, 2))
    by_w = np.einsum("ib,a->iab", np.eye(2), np.ones(4))
    assert wp.check_gradients(lambda p: p["W"].sum(0), {"W": w}, gradient={"dW": by_w})


def test_one_output_in_an_array_has_a_jacobian_or_a_gradient():
    for gradient in (2 * X, 2 * X[None]):
        assert wp.check_gradients(lambda x: np.array([x @ x]), X, gradient=gradient)


def test_a_jacobian_that_is_not_finite_fails():
    wrong = jacobian(X)
    wrong[1, 2] = np.nan
    check = wp.check_gradients(layer, X, gradient=wrong)
    assert (check.verdict, check.cause) == ("fail", "not-finite")


def test_an_output_whose_shape_depends_on_the_values_is_told():
    at_the_edge = np.ones(3) + np.array([0, 0, -1e-9])
    check = wp.check_gradients(lambda x: x[x >= 1.0], at_the_edge, gradient=np.ones((2, 3)))
    assert check.verdict == "inconclusive"
    assert "f returned shape (2,) at these inputs and" in check.detail


@pytest.mark.parametrize("shape", [(4, 3), (4,), (1, 3, 4)])
def test_a_jacobian_of_another_shape_is_refused(shape):
    with pytest.raises(ArgumentError, match=r"expected \(3, 4\), that of the output of f and then that of x"):
        wp.check_gradients(layer, X, gradient=np.ones(shape))


@pytest.mark.parametrize("large", [1e4, 1e8, 1e11])
@pytest.mark.parametrize(("claimed", "verdict"), [(2.0, "pass"), (5.0, "fail"), (0.0, "fail")])
def test_a_small_output_does_not_hide_behind_a_large_one(large, claimed, verdict):
    check = wp.check_gradients(
        lambda x: np.array([large * x[0], x[1] ** 2]),
        np.array([0.7, 1.3]),
        gradient=lambda x: np.array([[large, 0], [0, claimed * x[1]]]),
    )
    assert check.verdict == verdict
    assert verdict == "pass" or check.worst.place == "d f[1] / d x[1]"


def test_what_rounding_leaves_of_a_zero_row_is_no_error():
    gradient = np.array([[1.0, 0.0], [0.0, 1e-15]])
    assert wp.check_gradients(lambda x: np.array([x[0], 0 * x[1]]), np.ones(2), gradient=gradient)
