"""What numerical_gradient refuses, and how it says so."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import wellposed as wp
from wellposed.errors import ArgumentError, UserCodeError


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ((v for v in (1.0, 2.0)), "generator, which can be read only once"),
        ({"w": [1.0, 2]}, r"x\['w'\]\[1\] is"),
        ({}, "a dict without numbers"),
        ([np.zeros(0)], "empty"),
        ("1.0", "expected floats"),
        (None, "NoneType"),
        (True, "bool"),
        (torch.tensor([1.0, torch.inf]), "1 value that is not finite"),
    ],
)
def test_an_x_that_holds_no_floats_is_named(x, said):
    with pytest.raises(ArgumentError, match=said):
        wp.numerical_gradient(lambda _: 1.0, x)


@pytest.mark.parametrize("returned", [None, [1.0], {"loss": 1.0}, "1.0", np.ones(2), 1j])
def test_an_f_that_returns_no_number_is_refused(returned):
    with pytest.raises(ArgumentError, match="expected one real number"):
        wp.numerical_gradient(lambda _: returned, 1.0)


def test_an_exception_in_f_comes_through_as_its_cause():
    def f(x):
        raise KeyError("weights")

    with pytest.raises(UserCodeError, match="KeyError") as caught:
        wp.numerical_gradient(f, 1.0)
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_exception_beside_x_comes_through_too():
    def f(x):
        if x != 1.0:
            raise RuntimeError("only at one")
        return x

    with pytest.raises(UserCodeError, match="only at one"):
        wp.numerical_gradient(f, 1.0)


def test_a_domain_error_of_plain_python_is_the_end_of_the_domain():
    found = wp.numerical_gradient(lambda x: math.sqrt(x) ** 3 + 2 * x, 0.0)
    assert found.method == "one-sided"
    assert abs(found.value - 2) <= found.error < 1e-2


def test_a_domain_error_everywhere_beside_x_is_the_users():
    with pytest.raises(UserCodeError, match="ValueError"):
        wp.numerical_gradient(lambda x: 0.0 if x == 0 else math.sqrt(-abs(x)), 0.0)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ArgumentError, match="precision is 'half'"):
        wp.numerical_gradient(abs, 1.0, precision="half")  # type: ignore[arg-type]


def test_an_f_that_writes_into_a_tensor_is_refused_and_x_is_left_alone():
    x = torch.ones(2)
    with pytest.raises(ArgumentError, match="changed its argument"):
        wp.numerical_gradient(lambda t: t.mul_(2).sum(), x)
    assert x.tolist() == [1.0, 1.0]
