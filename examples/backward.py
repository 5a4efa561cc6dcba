"""Backward passes written by hand in torch: ``wellposed gradcheck examples/backward.py:swish``."""

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


class MendedSwish(Swish):
    """The same with both terms."""

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return grad_output * (s + x * s * (1 - s))


class Linear(torch.autograd.Function):
    """a W; the gradient of W is not transposed where it has to be."""

    @staticmethod
    def forward(ctx, a, W):
        ctx.save_for_backward(a, W)
        return a @ W

    @staticmethod
    def backward(ctx, grad_output):
        a, W = ctx.saved_tensors
        return grad_output @ W.T, (a.T @ grad_output).T


def swish():
    """What to check: the function, and inputs for it."""
    return Swish.apply, _normal(8, 16)


def mended():
    return MendedSwish.apply, _normal(8, 16)


def linear():
    return Linear.apply, _normal(32, 6), _normal(6, 6)


def noisy():
    """A network in training mode, dropout and batch normalization included: a module and its input."""
    layers = (torch.nn.Linear(16, 32), torch.nn.BatchNorm1d(32), torch.nn.ReLU(), torch.nn.Dropout(0.3))
    return torch.nn.Sequential(*layers, torch.nn.Linear(32, 3)), _normal(8, 16)


def _normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))
