"""A backward pass written by hand, with a bug: ``wellposed gradcheck examples/backward.py:swish``."""

import torch


class Swish(torch.autograd.Function):
    """x · sigmoid(x); its backward forgets the product rule's second term."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * torch.sigmoid(x)


def swish():
    """What to check: the function, and inputs for it."""
    return Swish.apply, torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
