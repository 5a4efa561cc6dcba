"""Gradient checks as tests: ``pytest examples/test_backward.py``. An assertion that fails prints the report of its check."""

import numpy as np
import torch

import wellposed as wp


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return grad_output * (s + x * s * (1 - s))


def test_a_function_by_hand():
    assert wp.check_gradients(Swish.apply, torch.linspace(-4, 4, 33))


def test_a_module_that_uses_it():
    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.dropout = torch.nn.Linear(16, 8), torch.nn.Dropout(0.2)

        def forward(self, x):
            return self.dropout(Swish.apply(self.linear(x)))

    assert wp.check_gradients(Layer(), torch.randn(4, 16))


def test_a_formula_in_numpy():
    x = np.linspace(-2, 2, 9)

    assert wp.check_gradients(lambda x: np.sum(np.log1p(x**2)), x, gradient=lambda x: 2 * x / (1 + x**2))
