"""Functions whose outputs change with the values of their inputs."""

from __future__ import annotations

import jax.numpy as jnp
import pytest
import torch

import wellposed as wp
from wellposed.errors import ArgumentError, UserCodeError

X = torch.linspace(-1, 1, 20, dtype=torch.float64)
EDGE = float(X[0])

CHANGING = {
    "shape": (lambda x: torch.cat([2 * x, x[:1]]) if x[0] > EDGE else 2 * x, r"from (20,) to (21,)"),
    "dtype": (lambda x: (2 * x).float() if x[0] > EDGE else 2 * x, "output (float32) in another"),
    "number": (lambda x: (2 * x, x) if x[0] > EDGE else 2 * x, "output[1] (float64) in another"),
}


@pytest.mark.parametrize("what", CHANGING)
def test_outputs_that_change_beside_the_point_are_told(what):
    f, said = CHANGING[what]
    check = wp.check_gradients(f, X)
    assert check.verdict == "inconclusive"
    assert said in check.detail


def test_outputs_of_a_jax_function_that_change_are_told():
    x = jnp.linspace(-1, 1, 20)
    check = wp.check_gradients(lambda x: jnp.concatenate([2 * x, x[:1]]) if x[0] > -1 else 2 * x, x)
    assert check.verdict == "inconclusive"
    assert "changed their shapes" in check.detail


class Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w, rows):
        ctx.save_for_backward(rows)
        ctx.shape = w.shape
        return w[rows].clone()

    @staticmethod
    def backward(ctx, *grads):
        (rows,) = ctx.saved_tensors
        sparse = torch.sparse_coo_tensor(rows[None], grads[0], ctx.shape, check_invariants=True)
        return sparse, None


class Powers(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        return x**2, x**3

    @staticmethod
    def backward(ctx, *grads):
        (x,) = ctx.saved_tensors
        terms = [g * d for g, d in zip(grads, (2 * x, 3 * x**2), strict=True) if g is not None]
        return sum(terms)


def test_a_sparse_gradient_of_a_dense_input_is_told_with_the_mend():
    w = torch.randn(6, 3, dtype=torch.float64)
    with pytest.raises(
        UserCodeError, match=r"sparse gradient for a dense input \(one of w\).*\.to_dense\(\)"
    ):
        wp.check_gradients(lambda w, rows: Rows.apply(w, rows), w, torch.tensor([0, 2, 2]))


def test_a_sparse_embedding_of_a_leaf_is_told_to_be_dense():
    w = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([0, 2, 2])
    with pytest.raises(UserCodeError, match=r"autograd cannot carry back .* pass sparse=False"):
        wp.check_gradients(lambda w: torch.nn.functional.embedding(rows, w, sparse=True), w)
    assert wp.check_gradients(lambda w: torch.nn.functional.embedding(rows, w, sparse=False), w)


@pytest.mark.parametrize("used", [(0,), (1,), (0, 1)])
def test_a_backward_that_is_given_none_for_unused_outputs_passes(used):
    assert wp.check_gradients(lambda x: tuple(Powers.apply(x)[k] for k in used), X)


def test_a_batched_backward_passes():
    assert wp.check_gradients(torch.func.jacrev(torch.sin), X[:5])


@pytest.mark.filterwarnings("ignore:Sparse C")
@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr", "to_sparse_csc"])
def test_a_sparse_input_is_refused_with_the_mend(layout):
    with pytest.raises(
        ArgumentError, match=r"s is a torch.sparse_\w+ tensor: expected a dense one, as .to_dense\(\)"
    ):
        wp.check_gradients(lambda s: s.to_dense(), getattr(torch.eye(3), layout)())


def test_a_selection_that_no_small_step_changes_passes():
    assert wp.check_gradients(lambda x: x[x > 0.1] ** 2, X)
