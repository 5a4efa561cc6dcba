"""Attention, convolutions and embeddings whose backward pass read the wrong memory or the wrong sequence."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import grad as gradients_of

from .real_backward_bug import Built, RealBug, normal


def attention_over_sequences(wrong: bool, *, real: bool = True) -> Built:
    """TransformerEngine#3216: with two or more sequences in a batch, dQ came out about five times too large, on real activations only.

    The kernel's own cause is not public. Here the backward pass rebuilds the attention weights from the log-sum-exp of the first sequence
    for every sequence: on small Gaussian inputs all log-sum-exps are nearly log(T), on activations of uneven scale they are not.
    """

    class Attention(torch.autograd.Function):
        @staticmethod
        def forward(ctx, q, k, v):
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            normaliser = scores.logsumexp(-1, keepdim=True)
            ctx.save_for_backward(q, k, v, normaliser)
            return (scores - normaliser).exp() @ v

        @staticmethod
        def backward(ctx, d):
            q, k, v, normaliser = ctx.saved_tensors
            if wrong:
                normaliser = normaliser[:1].expand_as(normaliser)
            scale = q.shape[-1] ** -0.5
            p = (q @ k.transpose(-1, -2) * scale - normaliser).exp()
            dp = d @ v.transpose(-1, -2)
            ds = p * (dp - (p * dp).sum(-1, keepdim=True)) * scale
            return ds @ k, ds.transpose(-1, -2) @ q, p.transpose(-1, -2) @ d

    batch = 3 if real else 1
    # Activations of a trained model: some channels are many times larger than others, and sequences differ.
    channels = 1 + 3 * (torch.arange(8) == 2).double()
    sequences = torch.linspace(0.5, 1.5, batch).double()[:, None, None]
    q, k, v = (normal(batch, 6, 8, seed=s) for s in range(3))
    if real:
        q, k = q * channels * sequences, k * channels
    return lambda q, k, v: Attention.apply(q, k, v), (q, k, v), None


def as_if_contiguous(x: Tensor) -> Tensor:
    """What a kernel reads that takes a pointer and assumes packed strides: memory past the storage's end is zero."""
    storage = x.new_empty(0).set_(x.untyped_storage())
    packed = storage[x.storage_offset() : x.storage_offset() + x.numel()]
    return F.pad(packed, (0, x.numel() - packed.numel())).view(x.shape)


class FusedProjection(nn.Module):
    """flash-attention#2541: dV was wrong where q, k, v are slices of one projection, and right where they are three tensors.

    The backward pass addresses v with the strides of a packed tensor.
    """

    def __init__(self, *, wrong: bool, separate: bool = False) -> None:
        super().__init__()
        self.wrong, self.separate = wrong, separate
        self.qkv = nn.Linear(6, 18)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        if self.separate:
            q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        return _ValueSide.apply((q @ k.transpose(-1, -2)).softmax(-1), v, self.wrong)


class _ValueSide(torch.autograd.Function):
    @staticmethod
    def forward(ctx, p, v, wrong):
        ctx.save_for_backward(p, v)
        ctx.wrong = wrong
        return p @ v

    @staticmethod
    def backward(ctx, d):
        p, v = ctx.saved_tensors
        return d @ (as_if_contiguous(v) if ctx.wrong else v).transpose(-1, -2), p.transpose(-1, -2) @ d, None


def fused_projection(wrong: bool, *, separate: bool = False) -> Built:
    model = FusedProjection(wrong=wrong, separate=separate).double()
    with torch.no_grad():
        model.qkv.weight.copy_(normal(18, 6, seed=1, scale=0.5))
        model.qkv.bias.copy_(normal(18, seed=2, scale=0.1))
    return model, (normal(2, 5, 6),), None


class _CausalConvolution(torch.autograd.Function):
    """fla-org/flash-linear-attention#871: the backward pass read its cotangent with hard-coded strides.

    The cotangent is a view when the outputs were concatenated, as q, k and v are after their own convolutions.
    """

    @staticmethod
    def forward(ctx, x, w, wrong):
        ctx.save_for_backward(x, w)
        ctx.wrong = wrong
        return (_taps(x, w.shape[0]) * w[:, None, None, None]).sum(0)

    @staticmethod
    def backward(ctx, d):
        x, w = ctx.saved_tensors
        if ctx.wrong:
            d = as_if_contiguous(d)
        backwards = _taps(d.flip(1), w.shape[0]).flip(2)
        return (backwards * w[:, None, None, None]).sum(0), (_taps(x, w.shape[0]) * d).sum((1, 2, 3)), None


def _taps(x: Tensor, width: int) -> Tensor:
    """x moved later by 0, 1, ... steps along its second axis."""
    return torch.stack([F.pad(x, (0, 0, i, 0))[:, : x.shape[1]] for i in range(width)])


def causal_convolution(wrong: bool, *, joined: bool = True) -> Built:
    def f(q, k, wq, wk):
        parts = [_CausalConvolution.apply(q, wq, wrong), _CausalConvolution.apply(k, wk, wrong)]
        return torch.cat(parts, -1) if joined else parts

    return f, (normal(2, 5, 3), normal(2, 5, 3, seed=1), normal(3, seed=2), normal(3, seed=3)), None


def deformable_convolution(wrong: bool) -> Built:
    """chengdazhi/Deformable-Convolution-V2-PyTorch#3: after ``out.sum()`` the weight's gradient was nearly zero.

    The cotangent of a sum is one number expanded to the whole output, and the kernel read it as that many packed numbers. The convolution here
    deforms nothing, as in the report.
    """

    class Convolution(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return F.conv2d(x, w, padding=1)

        @staticmethod
        def backward(ctx, d):
            x, w = ctx.saved_tensors
            d = as_if_contiguous(d) if wrong else d
            return (
                gradients_of.conv2d_input(x.shape, w, d, padding=1),
                gradients_of.conv2d_weight(x, w.shape, d, padding=1),
            )

    return lambda x, w: Convolution.apply(x, w).sum(), (normal(2, 2, 5, 5), normal(3, 2, 3, 3, seed=1)), None


def rotary_embedding(wrong: bool, *, halves_alike: bool = False) -> Built:
    """PaddlePaddle/Paddle#74716: the backward rotation turned before it multiplied with the sine, which differs unless both halves agree."""

    def turned(x: Tensor) -> Tensor:
        one, other = x.chunk(2, -1)
        return torch.cat([-other, one], -1)

    def turned_back(x: Tensor) -> Tensor:
        one, other = x.chunk(2, -1)
        return torch.cat([other, -one], -1)

    frequencies = 1 / 100 ** (torch.arange(4).double() / 4)
    half = torch.arange(6).double()[:, None] * frequencies
    angles = torch.cat([half, half], -1) if halves_alike else half.repeat_interleave(2, -1)

    class Rotary(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            sine = angles.sin().to(x.dtype)
            return x * angles.cos().to(x.dtype) + turned(x) * sine

        @staticmethod
        def backward(ctx, d):
            sine = angles.sin().to(d.dtype)
            back = turned_back(d) * sine if wrong else turned_back(d * sine)
            return d * angles.cos().to(d.dtype) + back

    return lambda q: Rotary.apply(q).square(), (normal(2, 6, 8),), None


BUGS = (
    RealBug(
        name="attention over several sequences",
        issue="TransformerEngine#3216",
        build=attention_over_sequences,
        at_fault=("q", "k", "v"),
        flattering=lambda wrong: attention_over_sequences(wrong, real=False),
    ),
    RealBug(
        name="slices of one projection",
        issue="flash-attention#2541",
        build=fused_projection,
        at_fault=("qkv.weight", "qkv.bias", "x"),
        flattering=lambda wrong: fused_projection(wrong, separate=True),
    ),
    RealBug(
        name="cotangent that is a view",
        issue="flash-linear-attention#871",
        build=causal_convolution,
        at_fault=("q", "k", "wq", "wk"),
        flattering=lambda wrong: causal_convolution(wrong, joined=False),
    ),
    RealBug(
        name="cotangent that is one expanded number",
        issue="Deformable-Convolution-V2-PyTorch#3",
        build=deformable_convolution,
        at_fault=("x", "w"),
    ),
    RealBug(
        name="rotary embedding",
        issue="Paddle#74716",
        build=rotary_embedding,
        at_fault=("q",),
        flattering=lambda wrong: rotary_embedding(wrong, halves_alike=True),
    ),
)
