"""Normalising layers whose backward pass left out, doubled or misplaced a term."""

from __future__ import annotations

import torch

from .real_backward_bug import Built, RealBug, normal


def renormalised_rows(wrong: bool) -> Built:
    """pytorch#59584, mended in #59615 (torch's fast gradcheck passed it): the gradient of rows that are scaled down to a largest norm.

    What was wrong in the kernel is not said; here the backward pass takes the branches of the scaled rows and the others the wrong way round.
    """

    class Renorm(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            norm = x.norm(dim=1, keepdim=True)
            return torch.where(norm > 1, x / norm, x)

        @staticmethod
        def backward(ctx, d):
            (x,) = ctx.saved_tensors
            norm = x.norm(dim=1, keepdim=True)
            through = (d - x * (x * d).sum(1, keepdim=True) / norm**2) / norm
            return torch.where((norm > 1) ^ wrong, through, d)

    return lambda x: Renorm.apply(x), (normal(12, 4, scale=0.5),), None


def batch_norm_statistics(wrong: bool, *, unit_variance: bool = False) -> Built:
    """flagos-ai/FlagGems#5222: the saved inverse deviation was taken for a variance; the two agree where the variance is 1."""

    class BatchNorm(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight, bias):
            variance, mean = torch.var_mean(x, 0, correction=0)
            inverse = (variance + 1e-5).rsqrt()
            ctx.save_for_backward(x, weight, mean, inverse)
            return (x - mean) * inverse * weight + bias

        @staticmethod
        def backward(ctx, d):
            x, weight, mean, inverse = ctx.saved_tensors
            if wrong:
                inverse = (inverse + 1e-5).rsqrt()
            normed = (x - mean) * inverse
            dn = d * weight
            dx = inverse * (dn - dn.mean(0) - normed * (dn * normed).mean(0))
            return dx, (d * normed).sum(0), d.sum(0)

    x = normal(16, 4)
    # To the last digit, the two agree where s = 1/sqrt(s + 1e-5), a hair below 1.
    same = 1 - 1e-5 / 3
    x = (x - x.mean(0)) / x.std(0, correction=0) * same**0.5 if unit_variance else 3 * x + 1
    return lambda x, w, b: BatchNorm.apply(x, w, b), (x, normal(4, seed=1), normal(4, seed=2)), None


def batch_norm_as_constants(wrong: bool) -> Built:
    """facebookresearch/CrypTen#143: the mean and variance of the batch were differentiated as if they did not depend on the inputs."""

    def f(x, weight):
        variance, mean = torch.var_mean(x, 0, correction=0)
        if wrong:
            variance, mean = variance.detach(), mean.detach()
        return torch.tanh((x - mean) * (variance + 1e-5).rsqrt() * weight)

    return f, (normal(10, 4), normal(4, seed=1)), None


def rms_norm_rows(wrong: bool) -> Built:
    """BobMcDear/attorch#17: each row's correction was broadcast along the columns; it ran where a block happened to be square."""

    class RMSNorm(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            inverse = (x.square().mean(1, keepdim=True) + 1e-6).rsqrt()
            ctx.save_for_backward(x, weight, inverse)
            return x * inverse * weight

        @staticmethod
        def backward(ctx, d):
            x, weight, inverse = ctx.saved_tensors
            normed = x * inverse
            correction = (d * weight * normed).mean(1)
            return inverse * (d * weight - normed * (correction if wrong else correction[:, None])), (
                d * normed
            ).sum(0)

    return lambda x, w: RMSNorm.apply(x, w), (normal(6, 6), 1 + normal(6, seed=1, scale=0.2)), None


def rms_norm_without_gain(wrong: bool, *, untrained: bool = False) -> Built:
    """karpathy/llm.c#763, where a reader found it in his own code: the input's gradient was not multiplied by the gain.

    A gain starts at ones, where nothing shows.
    """

    class RMSNorm(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            inverse = (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
            ctx.save_for_backward(x, weight, inverse)
            return x * inverse * weight

        @staticmethod
        def backward(ctx, d):
            x, weight, inverse = ctx.saved_tensors
            normed = x * inverse
            dn = d if wrong else d * weight
            return inverse * (dn - normed * (dn * normed).mean(-1, keepdim=True)), (d * normed).sum((0, 1))

    weight = torch.ones(8, dtype=torch.float64) if untrained else 1 + normal(8, seed=1, scale=0.2)
    return lambda x, w: RMSNorm.apply(x, w), (normal(2, 5, 8), weight), None


def layer_norm_twice(wrong: bool) -> Built:
    """tenstorrent/tt-metal#53215: the mean of the cotangent was subtracted twice, from a register that was not emptied."""

    class LayerNorm(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
            inverse = (variance + 1e-5).rsqrt()
            normed = (x - mean) * inverse
            ctx.save_for_backward(normed, weight, inverse)
            return normed * weight

        @staticmethod
        def backward(ctx, d):
            normed, weight, inverse = ctx.saved_tensors
            dn = d * weight
            centred = dn - (2 if wrong else 1) * dn.mean(-1, keepdim=True)
            return inverse * (centred - normed * (dn * normed).mean(-1, keepdim=True)), (d * normed).sum(
                (0, 1)
            )

    return lambda x, w: LayerNorm.apply(x, w), (normal(2, 5, 8), 1 + normal(8, seed=1, scale=0.2)), None


BUGS = (
    RealBug(
        name="rows scaled to a largest norm", issue="pytorch#59584", build=renormalised_rows, at_fault=("x",)
    ),
    RealBug(
        name="batch norm, inverse deviation taken for a variance",
        issue="FlagGems#5222",
        build=batch_norm_statistics,
        at_fault=("x", "w"),
        flattering=lambda wrong: batch_norm_statistics(wrong, unit_variance=True),
        beside=True,
    ),
    RealBug(
        name="batch norm, statistics as constants",
        issue="CrypTen#143",
        build=batch_norm_as_constants,
        at_fault=("x",),
    ),
    RealBug(
        name="RMS norm, correction along the wrong axis",
        issue="attorch#17",
        build=rms_norm_rows,
        at_fault=("x",),
    ),
    RealBug(
        name="layer norm, mean subtracted twice",
        issue="tt-metal#53215",
        build=layer_norm_twice,
        at_fault=("x",),
    ),
    RealBug(
        name="RMS norm without its gain",
        issue="llm.c#763",
        build=rms_norm_without_gain,
        at_fault=("x",),
        flattering=lambda wrong: rms_norm_without_gain(wrong, untrained=True),
        beside=True,
    ),
)
