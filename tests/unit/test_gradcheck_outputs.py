"""Functions whose outputs change with the values of their inputs."""

from __future__ import annotations

import jax.numpy as jnp
import pytest
import torch

import wellposed as wp

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


def test_a_selection_that_no_small_step_changes_passes():
    assert wp.check_gradients(lambda x: x[x > 0.1] ** 2, X)
