"""A gradient that is NaN or infinite where the function is finite has failed; nothing is raised."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import wellposed as wp
from wellposed.errors import ArgumentError


def masked_too_late(x):
    return torch.where(x > 0, torch.sqrt(x), torch.zeros_like(x)).sum()


def masked(x):
    taken = x > 0
    return torch.where(
        taken, torch.sqrt(torch.where(taken, x, torch.ones_like(x))), torch.zeros_like(x)
    ).sum()


POINT = [1.0, -1.0, 2.0, 0.5]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_branch_that_is_not_taken_is_named_with_its_derivative(dtype):
    x = torch.tensor(POINT, dtype=dtype, requires_grad=True)
    check = wp.check_gradients(masked_too_late, x)
    assert (check.verdict, check.cause, check.where) == ("fail", "not-finite", "x[1]")
    assert math.isnan(check.worst.analytic)
    assert abs(check.worst.numerical) <= check.worst.bar < 1e-6
    assert "nan at x[1] (its numerical derivative is 0" in check.detail
    assert "the branch that is not taken" in " ".join(str(check).split())
    assert x.grad is None


def test_its_mended_twin_passes():
    assert wp.check_gradients(masked, torch.tensor(POINT, dtype=torch.float64, requires_grad=True))


def test_the_same_in_jax():
    check = wp.check_gradients(lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0).sum(), jnp.array(POINT))
    assert (check.verdict, check.cause, check.where) == ("fail", "not-finite", "x[1]")
    mended = lambda x: jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0).sum()  # noqa: E731
    assert wp.check_gradients(mended, jnp.array(POINT))


@pytest.mark.parametrize(
    "claimed", [np.array([1.0, np.nan, -np.inf]), lambda x: np.array([1.0, np.nan, -np.inf])]
)
def test_the_same_of_a_numpy_function(claimed):
    check = wp.check_gradients(lambda x: np.sum(x**2), np.array([0.5, 1.5, 2.0]), gradient=claimed)
    assert (check.verdict, check.cause) == ("fail", "not-finite")
    assert "2 elements" in check.detail
    assert abs(check.worst.numerical - 3.0) <= check.worst.bar


def test_an_end_of_the_domain_has_no_derivative_to_tell():
    check = wp.check_gradients(lambda x: x.sqrt().sum(), torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert check.verdict == "fail"
    assert check.worst.analytic == math.inf
    assert math.isnan(check.worst.numerical)
    assert "numerical unknown" in str(check)


@pytest.mark.parametrize(
    "f",
    [lambda x: (x**2).sum().sqrt(), lambda x: torch.linalg.eigh(x @ x.T)[1][:, 0].sum() ** 2],
    ids=["norm", "equal eigenvalues"],
)
def test_other_places_without_a_derivative_fail(f):
    x = (
        torch.eye(3, dtype=torch.float64)
        if "eigh" in f.__code__.co_names
        else torch.zeros(3, dtype=torch.float64)
    )
    check = wp.check_gradients(f, x)
    assert (check.verdict, check.cause) == ("fail", "not-finite")


class Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g / 2


def test_another_tensor_that_is_wrong_is_told_too():
    w = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    x = torch.tensor(POINT, dtype=torch.float64)
    check = wp.check_gradients(lambda x, w: masked_too_late(x) + (Halved.apply(w) ** 2).sum(), x, w)
    assert check.verdict == "fail"
    assert check.cause is None
    assert [t.name for t in check.failed] == ["x", "w"]
    assert "wrong for w too" in check.detail


def test_a_gradient_that_overflows_in_its_own_precision_alone_fails():
    class Overflows(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, g):
            return (g * 2e38 * 2) / 2e38 if g.dtype is torch.float64 else g * 2e38 * 20 / 2e38

    check = wp.check_gradients(lambda x: Overflows.apply(x).sum(), torch.ones(4))
    assert (check.verdict, check.cause) == ("fail", "not-finite")
    assert "in float64 it is finite" in check.detail


def test_f_itself_must_be_finite():
    with pytest.raises(ArgumentError, match="f returned a value that is not finite"):
        wp.check_gradients(lambda x: (x - 10).log().sum(), torch.ones(3))
