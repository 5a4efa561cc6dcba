"""Operators with a backward pass written by hand, as people write them, and the mistakes they make: the first half.

The names beside each bug are those that would be true of it; none where no name of the table says what is wrong. A name is
true of the slip, also where what was flipped, scaled or left out is a factor inside the backward pass and not the gradient
itself. `missing-term` is true where a summand is dropped, or where what is wrong is a multiple of something known; `sparse`
where at most an eighth of the elements are wrong; `accumulate` where one time step, output or end of a pair is left of a sum.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from benchmarks.cases.operator_case import Operator, coarse, registry

CASES: list[Operator] = []
operator = registry(CASES)


# Activations.


@operator(
    "torch", lambda r: (r.normal(12, 16),), product="missing-term", minus="", beta="", bf16="low-precision"
)
class Swish(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        s = torch.sigmoid(1.7 * x)
        ctx.save_for_backward(x, s)
        return x * s

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, s = ctx.saved_tensors
        if ctx.bug == "product":
            return grad * s
        if ctx.bug == "minus":
            return grad * (s + 1.7 * x * s * (1 + s))
        if ctx.bug == "beta":
            return grad * (s + x * s * (1 - s))
        if ctx.bug == "bf16":
            s = coarse(s)
            return coarse(grad * (s + 1.7 * x * s * (1 - s)))
        return grad * (s + 1.7 * x * s * (1 - s))


@operator(
    "torch",
    lambda r: (r.normal(20, 15),),
    no_slope="mask",
    dead="mask",
    swapped="mask",
    of_grad="mask",
    all_slope="mask",
)
class LeakyRelu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x > 0, x, 0.2 * x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        if ctx.bug == "no_slope":
            return grad.clone()
        if ctx.bug == "dead":
            return grad * (x > 0)
        if ctx.bug == "swapped":
            return torch.where(x > 0, 0.2 * grad, grad)
        if ctx.bug == "of_grad":
            return torch.where(grad > 0, grad, 0.2 * grad)
        if ctx.bug == "all_slope":
            return torch.where(x > 0.5, grad, 0.2 * grad)
        return torch.where(x > 0, grad, 0.2 * grad)


@operator(
    "torch",
    lambda r: (r.normal(10, 14),),
    three="",
    inner="missing-term",
    half="scaled",
    sech="",
    kept="stale",
    sign="sign-flipped",
)
class GeluTanh(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        t = torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        if ctx.bug == "kept":
            t_saved = ctx.state.setdefault("t", t.detach())
            ctx.save_for_backward(x, t_saved)
        else:
            ctx.save_for_backward(x, t)
        return 0.5 * x * (1 + t)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, t = ctx.saved_tensors
        cubic = 0.044715 if ctx.bug == "three" else 3 * 0.044715
        du = math.sqrt(2 / math.pi) * (1 + cubic * x * x)
        dt = (1 - t) * du if ctx.bug == "sech" else (1 - t * t) * du
        if ctx.bug == "inner":
            return grad * 0.5 * (1 + t)
        if ctx.bug == "half":
            return grad * (1 + t + x * dt)
        if ctx.bug == "sign":
            return -grad * 0.5 * (1 + t + x * dt)
        return grad * 0.5 * (1 + t + x * dt)


@operator(
    "torch",
    lambda r: (r.normal(9, 24),),
    swapped="permuted",
    slope="",
    detached="zero mask",
    same_half="",
    fp16="low-precision",
)
class GatedLinearUnit(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        ctx.save_for_backward(a, b)
        return a * torch.sigmoid(b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        a, b = ctx.saved_tensors
        s = torch.sigmoid(b)
        da, db = grad * s, grad * a * s * (1 - s)
        if ctx.bug == "swapped":
            return torch.cat([db, da], dim=1)
        if ctx.bug == "slope":
            db = grad * a * s
        if ctx.bug == "detached":
            db = torch.zeros_like(b)
        if ctx.bug == "same_half":
            db = grad * b * s * (1 - s)
        if ctx.bug == "fp16":
            return coarse(torch.cat([da, db], dim=1), torch.float16)
        return torch.cat([da, db], dim=1)


# Normalisations.


@operator(
    "torch",
    lambda r: (r.normal(12, 20), r.normal(20), r.normal(20)),
    no_mean="missing-term",
    no_variance="missing-term",
    weight="",
    first="accumulate",
    of_x="",
    averaged="scaled",
    unbiased="",
)
class LayerNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        rstd = (x.var(1, keepdim=True, correction=0) + 1e-5).rsqrt()
        xhat = (x - mean) * rstd
        ctx.save_for_backward(x, xhat, rstd, weight)
        return xhat * weight + bias

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, xhat, rstd, weight = ctx.saved_tensors
        gw = grad if ctx.bug == "weight" else grad * weight
        count = x.shape[1] - 1 if ctx.bug == "unbiased" else x.shape[1]
        centre = gw.sum(1, keepdim=True) / x.shape[1]
        spread = xhat * (gw * xhat).sum(1, keepdim=True) / count
        if ctx.bug == "no_mean":
            centre = torch.zeros_like(centre)
        if ctx.bug == "no_variance":
            spread = torch.zeros_like(spread)
        dweight, dbias = (grad * xhat).sum(0), grad.sum(0)
        if ctx.bug == "first":
            dweight = (grad * xhat)[0]
        if ctx.bug == "of_x":
            dweight = (grad * x).sum(0)
        if ctx.bug == "averaged":
            dbias = grad.mean(0)
        return rstd * (gw - centre - spread), dweight, dbias


@operator(
    "torch",
    lambda r: (r.normal(11, 18), r.normal(18)),
    projection="missing-term",
    count="missing-mean",
    power="",
    weight="",
    last="accumulate",
)
class RmsNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        r = (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
        ctx.save_for_backward(x, r, weight)
        return x * r * weight

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, r, weight = ctx.saved_tensors
        gw = grad if ctx.bug == "weight" else grad * weight
        along = (gw * x).mean(-1, keepdim=True)
        if ctx.bug == "count":
            along = (gw * x).sum(-1, keepdim=True)
        power = 2 if ctx.bug == "power" else 3
        dx = r * gw - x * r**power * along
        if ctx.bug == "projection":
            dx = r * gw
        dweight = (grad * x * r).sum(0)
        if ctx.bug == "last":
            for row in grad * x * r:
                dweight = row
        return dx, dweight


@operator(
    "torch",
    lambda r: (r.normal(16, 10), r.normal(10), r.normal(10)),
    frozen="missing-term",
    axis="",
    count="",
    averaged="scaled",
    exchanged="",
    bf16="low-precision",
)
class BatchNormTraining(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        rstd = (x.var(0, correction=0) + 1e-5).rsqrt()
        xhat = (x - x.mean(0)) * rstd
        ctx.save_for_backward(xhat, rstd, gamma)
        return gamma * xhat + beta

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        xhat, rstd, gamma = ctx.saved_tensors
        m = xhat.shape[0]
        dbeta, dgamma = grad.sum(0), (grad * xhat).sum(0)
        if ctx.bug == "count":
            m = m - 1
        dx = gamma * rstd * (grad - dbeta / m - xhat * dgamma / m)
        if ctx.bug == "frozen":
            dx = gamma * rstd * grad
        if ctx.bug == "axis":
            centre, spread = grad.mean(1, keepdim=True), (grad * xhat).mean(1, keepdim=True)
            dx = gamma * rstd * (grad - centre - xhat * spread)
        if ctx.bug == "averaged":
            dgamma = dgamma / m
        if ctx.bug == "exchanged":
            dbeta, dgamma = dgamma, dbeta
        if ctx.bug == "bf16":
            dx = coarse(dx)
        return dx, dgamma, dbeta


@operator(
    "torch",
    lambda r: (r.normal(14, 9),),
    projection="missing-term",
    whole="",
    norm="",
    plus="",
    sign="sign-flipped",
)
class UnitRows(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        norm = x.norm(dim=1, keepdim=True)
        y = x / norm
        ctx.save_for_backward(y, norm)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        y, norm = ctx.saved_tensors
        along = (grad * y).sum(1, keepdim=True)
        if ctx.bug == "projection":
            return grad / norm
        if ctx.bug == "whole":
            along = (grad * y).sum()
        if ctx.bug == "norm":
            return grad - y * along
        if ctx.bug == "plus":
            return (grad + y * along) / norm
        if ctx.bug == "sign":
            return (y * along - grad) / norm
        return (grad - y * along) / norm


# Losses.


@operator(
    "torch",
    lambda r: (r.normal(24, 20), r.integers(20, 24)),
    total="missing-mean scaled",
    no_target="missing-term sparse",
    sign="sign-flipped",
    alone="scaled",
    next_class="sparse",
    classes="scaled",
)
class SoftmaxCrossEntropy(Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> Tensor:
        logp = logits.log_softmax(1)
        ctx.save_for_backward(logp, target)
        return -logp.gather(1, target[:, None]).mean()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        logp, target = ctx.saved_tensors
        m, classes = logp.shape
        p = logp.exp()
        index = (target + 1) % classes if ctx.bug == "next_class" else target
        hot = F.one_hot(index, classes).to(p.dtype)
        if ctx.bug == "total":
            return grad * (p - hot), None
        if ctx.bug == "no_target":
            return grad * p / m, None
        if ctx.bug == "sign":
            return grad * (hot - p) / m, None
        if ctx.bug == "alone":
            return (p - hot) / m, None
        if ctx.bug == "classes":
            return grad * (p - hot) / (m * classes), None
        return grad * (p - hot) / m, None


@operator(
    "torch",
    lambda r: (r.normal(15, 8), r.normal(15, 8)),
    no_clip="mask",
    same_sign="sign-flipped",
    total="missing-mean scaled",
    unit="",
    no_target="zero",
)
class HuberMean(Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, target: Tensor) -> Tensor:
        d = y - target
        ctx.save_for_backward(d)
        return torch.where(d.abs() < 0.8, 0.5 * d * d, 0.8 * (d.abs() - 0.4)).mean()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        (d,) = ctx.saved_tensors
        slope = torch.where(d.abs() < 0.8, d, 0.8 * d.sign())
        if ctx.bug == "no_clip":
            slope = d
        if ctx.bug == "unit":
            slope = torch.where(d.abs() < 0.8, d, d.sign())
        dy = grad * slope if ctx.bug == "total" else grad * slope / d.numel()
        if ctx.bug == "same_sign":
            return dy, dy
        if ctx.bug == "no_target":
            return dy, torch.zeros_like(dy)
        return dy, -dy


@operator(
    "torch",
    lambda r: (r.normal(60), r.bits(0.3, 60)),
    detached="missing-term",
    exponent="",
    alpha="scaled",
    wrong_alpha="",
    easy="missing-term",
)
class FocalLoss(Function):
    @staticmethod
    def forward(ctx: Any, logit: Tensor, positive: Tensor) -> Tensor:
        z = torch.where(positive, logit, -logit)
        ctx.save_for_backward(z, positive)
        weight = torch.where(positive, 0.25, 0.75).to(z.dtype)
        return -(weight * torch.sigmoid(-z).square() * F.logsigmoid(z)).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        z, positive = ctx.saved_tensors
        p = torch.sigmoid(z)
        side = torch.where(positive, 1.0, -1.0).to(z.dtype)
        weight = torch.where(positive, 0.25, 0.75).to(z.dtype)
        if ctx.bug == "wrong_alpha":
            weight = 1 - weight
        focus = 2 * p * (1 - p) ** 2 * F.logsigmoid(z)
        if ctx.bug == "exponent":
            focus = 2 * p * (1 - p) * F.logsigmoid(z)
        entropy = (1 - p) ** 3
        if ctx.bug == "detached":
            focus = torch.zeros_like(focus)
        if ctx.bug == "easy":
            entropy = torch.zeros_like(entropy)
        dz = weight * (focus - entropy)
        if ctx.bug == "alpha":
            dz = 4 * dz
        return grad * side * dz, None


@operator(
    "torch",
    lambda r: (r.normal(40, 5), r.bits(0.4, 40, 5), r.constant(40).abs()),
    no_positive_weight="",
    no_sample_weight="",
    normaliser="scaled",
    sign="sign-flipped",
    positives_only="mask",
)
class WeightedBinaryCrossEntropy(Function):
    @staticmethod
    def forward(ctx: Any, logit: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(logit, target, weight)
        each = torch.where(target, 3.0 * F.softplus(-logit), F.softplus(logit))
        return (weight[:, None] * each).sum() / weight.sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        logit, target, weight = ctx.saved_tensors
        p = torch.sigmoid(logit)
        scale = 1.0 if ctx.bug == "no_positive_weight" else 3.0
        d = torch.where(target, scale * (p - 1), p)
        if ctx.bug == "positives_only":
            d = torch.where(target, d, torch.zeros_like(d))
        if ctx.bug == "sign":
            d = -d
        if ctx.bug == "normaliser":
            return grad * weight[:, None] * d / len(weight), None, None
        if ctx.bug == "no_sample_weight":
            return grad * d / weight.sum(), None, None
        return grad * weight[:, None] * d / weight.sum(), None, None


# Attention.


@operator(
    "torch",
    lambda r: (r.normal(2, 7, 6), r.normal(2, 7, 6), r.normal(2, 7, 6)),
    unscaled="scaled",
    no_sum="missing-term",
    key_side="transposed",
    value_side="transposed",
    detached="zero",
    sum_axis="",
)
class ScaledAttention(Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        p = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1)
        ctx.save_for_backward(q, k, v, p)
        return p @ v

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, p = ctx.saved_tensors
        dv = p @ grad if ctx.bug == "value_side" else p.mT @ grad
        dp = grad @ v.mT
        ds = p * dp if ctx.bug == "no_sum" else p * (dp - (dp * p).sum(-1, keepdim=True))
        if ctx.bug == "sum_axis":
            ds = p * (dp - (dp * p).sum(-2, keepdim=True))
        if ctx.bug != "unscaled":
            ds = ds / math.sqrt(q.shape[-1])
        dk = ds @ q if ctx.bug == "key_side" else ds.mT @ q
        if ctx.bug == "detached":
            return torch.zeros_like(q), torch.zeros_like(k), dv
        return ds @ k, dk, dv


@operator(
    "torch",
    lambda r: (r.normal(3, 9, 9),),
    everywhere="mask",
    strict="mask sparse",
    upper="mask",
    no_sum="missing-term",
    kept="stale",
    axis="",
)
class CausalSoftmax(Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        p = torch.softmax(scores.masked_fill(~seen, -math.inf), dim=-1)
        kept = ctx.state.setdefault("p", p.detach()) if ctx.bug == "kept" else p
        ctx.save_for_backward(kept, scores)
        return p

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        p, scores = ctx.saved_tensors
        if ctx.bug == "everywhere":
            p = torch.softmax(scores, dim=-1)
        if ctx.bug == "no_sum":
            return grad * p
        if ctx.bug == "axis":
            return p * (grad - (grad * p).sum(-2, keepdim=True))
        d = p * (grad - (grad * p).sum(-1, keepdim=True))
        if ctx.bug == "strict":
            return d.tril(-1)
        if ctx.bug == "upper":
            return d.triu()
        return d


# Convolution, pooling, upsampling.


@operator(
    "torch",
    lambda r: (r.normal(3, 4, 12), r.normal(4, 4, 3), r.normal(4)),
    unflipped="permuted",
    flipped="permuted",
    last="accumulate",
    averaged="scaled",
    border="sparse mask",
    overlap="accumulate",
    channels="transposed",
)
class Convolution1d(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        columns = F.pad(x, (1, 1)).unfold(2, 3, 1)
        ctx.save_for_backward(columns, weight)
        return torch.einsum("bclk,ock->bol", columns, weight) + bias[:, None]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        columns, weight = ctx.saved_tensors
        length = columns.shape[2]
        taps = weight.flip(-1) if ctx.bug == "unflipped" else weight
        pieces = torch.einsum("bol,ock->bclk", grad, taps)
        padded = grad.new_zeros(*columns.shape[:2], length + 2)
        for k in range(3):
            if ctx.bug == "overlap":
                padded[..., k : k + length] = pieces[..., k]
            else:
                padded[..., k : k + length] += pieces[..., k]
        dx = padded[..., 1:-1].clone()
        if ctx.bug == "border":
            dx[..., 0] = 0
        dweight = torch.einsum("bol,bclk->ock", grad, columns)
        if ctx.bug == "last":
            for g, c in zip(grad, columns, strict=True):
                dweight = torch.einsum("ol,clk->ock", g, c)
        if ctx.bug == "flipped":
            dweight = dweight.flip(-1)
        if ctx.bug == "channels":
            dweight = dweight.transpose(0, 1).contiguous()
        dbias = grad.mean((0, 2)) if ctx.bug == "averaged" else grad.sum((0, 2))
        return dx, dweight, dbias


@operator(
    "torch",
    lambda r: (r.normal(4, 6, 21),),
    overwrite="accumulate sparse",
    spread="mask",
    shifted="permuted",
    shared="",
    smallest="mask permuted",
)
class MaxPool1d(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        windows = x.unfold(2, 3, 2)
        top, arg = windows.max(-1)
        if ctx.bug == "smallest":
            arg = windows.min(-1).indices
        ctx.save_for_backward(arg)
        ctx.shape = x.shape
        return top

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (arg,) = ctx.saved_tensors
        starts = torch.arange(grad.shape[-1]) * 2
        dx = grad.new_zeros(ctx.shape)
        if ctx.bug in ("spread", "shared"):
            share = grad / 3 if ctx.bug == "shared" else grad
            for k in range(3):
                dx.index_add_(2, starts + k, share)
            return dx
        index = starts + arg
        if ctx.bug == "shifted":
            index = (index + 1) % ctx.shape[-1]
        if ctx.bug == "overwrite":
            return dx.scatter_(2, index, grad)
        return dx.scatter_add_(2, index, grad)


@operator(
    "torch",
    lambda r: (r.normal(2, 3, 6, 6),),
    one_of_four="accumulate",
    averaged="scaled",
    swapped="transposed",
    rolled="permuted",
    rows_only="",
)
class UpsampleNearest(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        b, c, h, w = grad.shape
        blocks = grad.reshape(b, c, h // 2, 2, w // 2, 2)
        if ctx.bug == "one_of_four":
            return grad[:, :, ::2, ::2].clone()
        if ctx.bug == "averaged":
            return blocks.mean((3, 5))
        if ctx.bug == "swapped":
            return blocks.sum((3, 5)).transpose(2, 3).contiguous()
        if ctx.bug == "rolled":
            return blocks.sum((3, 5)).roll(1, dims=3)
        if ctx.bug == "rows_only":
            return grad.reshape(b, c, h // 2, w // 2, 4).sum(-1)
        return blocks.sum((3, 5))


# Indices.


@operator(
    "torch",
    lambda r: (r.normal(30, 6), r.integers(30, 4, 12)),
    overwrite="accumulate",
    padding="sparse mask",
    counted="",
    off_by_one="permuted",
    uncleared="accumulate",
)
class Embedding(Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.shape = table.shape
        return table[index] * (index != 3)[..., None]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        index = index.flatten()
        rows = grad.reshape(-1, ctx.shape[1])
        if ctx.bug != "padding":
            rows = rows * (index != 3)[:, None]
        if ctx.bug == "off_by_one":
            index = (index + 1) % ctx.shape[0]
        dtable = grad.new_zeros(ctx.shape)
        if ctx.bug == "uncleared":
            dtable = ctx.state.setdefault("buffer", dtable)
        if ctx.bug == "overwrite":
            dtable[index] = rows
            return dtable, None
        dtable.index_add_(0, index, rows)
        if ctx.bug == "counted":
            dtable = dtable / index.bincount(minlength=ctx.shape[0]).clamp(min=1)[:, None]
        return dtable.clone(), None


@operator(
    "torch",
    lambda r: (r.normal(40, 5), r.integers(8, 40)),
    total="missing-mean",
    one_more="",
    assumed_sorted="permuted",
    last_segment="mask sparse",
    first_member="mask sparse",
)
class SegmentMean(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, segment: Tensor) -> Tensor:
        count = segment.bincount(minlength=8).clamp(min=1).to(x.dtype)
        ctx.save_for_backward(segment, count)
        return x.new_zeros(8, x.shape[1]).index_add(0, segment, x) / count[:, None]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        segment, count = ctx.saved_tensors
        if ctx.bug == "total":
            return grad[segment], None
        if ctx.bug == "one_more":
            count = count + 1
        each = grad / count[:, None]
        if ctx.bug == "assumed_sorted":
            return each[segment.sort().values], None
        if ctx.bug == "last_segment":
            each[-1] = 0
        dx = each[segment]
        if ctx.bug == "first_member":
            dx[:5] = 0
        return dx, None


@operator(
    "torch",
    lambda r: (r.normal(10, 6), r.integers(10, 8, 6), r.normal(8, 6)),
    scattered="permuted",
    detached="zero",
    replaced="mask",
    other_axis="",
    rolled="permuted",
)
class ScatterAdd(Function):
    @staticmethod
    def forward(ctx: Any, base: Tensor, index: Tensor, source: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return base.scatter_add(0, index, source)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor]:
        (index,) = ctx.saved_tensors
        dbase, dsource = grad.clone(), grad.gather(0, index)
        if ctx.bug == "scattered":
            dsource = torch.zeros_like(grad).scatter(0, index, grad[:8])[:8].clone()
        if ctx.bug == "detached":
            dbase = torch.zeros_like(grad)
        if ctx.bug == "replaced":
            dbase = grad.scatter(0, index, 0.0)
        if ctx.bug == "other_axis":
            dsource = grad.gather(1, index % 6)
        if ctx.bug == "rolled":
            dsource = dsource.roll(1, 0)
        return dbase, None, dsource


@operator(
    "torch",
    lambda r: (r.normal(12, 10), r.integers(10, 12, 10)),
    overwrite="accumulate",
    gathered="permuted",
    position="permuted",
    column_lost="mask sparse",
)
class TakeAlongRows(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return x.gather(1, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        if ctx.bug == "gathered":
            return grad.gather(1, index), None
        if ctx.bug == "position":
            index = (index + 1) % 10
        dx = torch.zeros_like(grad)
        dx = dx.scatter(1, index, grad) if ctx.bug == "overwrite" else dx.scatter_add(1, index, grad)
        if ctx.bug == "column_lost":
            dx[:, -1] = 0
        return dx, None


# Cumulative operations.


@operator(
    "torch",
    lambda r: (r.normal(8, 15),),
    forwards="",
    inclusive="missing-term mask",
    shifted="permuted",
    identity="",
    last_step="accumulate",
)
class ExclusiveCumulativeSum(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.cumsum(1) - x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        if ctx.bug == "forwards":
            return grad.cumsum(1) - grad
        back = grad.flip(1).cumsum(1).flip(1)
        if ctx.bug == "inclusive":
            return back
        if ctx.bug == "shifted":
            return (back - grad).roll(-1, 1)
        if ctx.bug == "identity":
            return grad.clone()
        if ctx.bug == "last_step":
            return F.pad(grad[:, 1:], (0, 1))
        return back - grad


@operator(
    "torch",
    lambda r: (r.uniform(0.6, 1.5, 9, 10),),
    undivided="",
    forwards="",
    diagonal="accumulate missing-term",
    of_output="",
    strict="missing-term mask",
)
class CumulativeProduct(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.cumprod(1)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, y = ctx.saved_tensors
        back = (grad * y).flip(1).cumsum(1).flip(1)
        if ctx.bug == "undivided":
            return back
        if ctx.bug == "forwards":
            return (grad * y).cumsum(1) / x
        if ctx.bug == "diagonal":
            return grad * y / x
        if ctx.bug == "of_output":
            return back / y
        if ctx.bug == "strict":
            return (back - grad * y) / x
        return back / x


# Linear algebra and fused layers.


@operator(
    "torch",
    lambda r: (r.normal(13, 9), r.normal(9, 9), r.normal(9)),
    no_mask="mask",
    turned="transposed",
    first="accumulate",
    wrong_side="transposed",
    averaged="scaled",
    unmasked_bias="mask",
)
class LinearRelu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y = torch.relu(x @ weight.T + bias)
        ctx.save_for_backward(x, weight, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight, y = ctx.saved_tensors
        g = grad if ctx.bug == "no_mask" else grad * (y > 0)
        dx = g @ weight.T if ctx.bug == "wrong_side" else g @ weight
        dweight = x.T @ g if ctx.bug == "turned" else g.T @ x
        if ctx.bug == "averaged":
            dweight = dweight / len(x)
        dbias = g.sum(0)
        if ctx.bug == "first":
            dbias = g[0].clone()
        if ctx.bug == "unmasked_bias":
            dbias = grad.sum(0)
        return dx, dweight, dbias


@operator(
    "torch",
    lambda r: (r.positive_definite(8),),
    sign="sign-flipped",
    plain="transposed",
    one_side="",
    order="",
    fp16="low-precision",
)
class MatrixInverse(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        y = torch.linalg.inv(a + 0.3 * torch.ones_like(a).triu())
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        if ctx.bug == "sign":
            return y.T @ grad @ y.T
        if ctx.bug == "plain":
            return -y @ grad @ y
        if ctx.bug == "one_side":
            return -y.T @ grad
        if ctx.bug == "order":
            return -y.T @ y.T @ grad
        if ctx.bug == "fp16":
            return -coarse(y.T @ grad @ y.T, torch.float16)
        return -y.T @ grad @ y.T


@operator(
    "torch",
    lambda r: (r.normal(4, 6, 5, 5), r.normal(6), r.normal(6)),
    one_image="accumulate",
    one_pixel="accumulate",
    no_input="",
    averaged="scaled",
    no_scale="",
    rolled="permuted",
)
class ChannelAffine(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        return x * scale[:, None, None] + shift[:, None, None]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, scale = ctx.saved_tensors
        dx = grad.clone() if ctx.bug == "no_scale" else grad * scale[:, None, None]
        dscale, dshift = (grad * x).sum((0, 2, 3)), grad.sum((0, 2, 3))
        if ctx.bug == "one_image":
            for g, image in zip(grad, x, strict=True):
                dscale = (g * image).sum((1, 2))
        if ctx.bug == "one_pixel":
            dshift = grad[:, :, -1, -1].sum(0)
        if ctx.bug == "no_input":
            dscale = grad.sum((0, 2, 3))
        if ctx.bug == "averaged":
            dshift = grad.mean((0, 2, 3))
        if ctx.bug == "rolled":
            dscale = dscale.roll(1)
        return dx, dscale, dshift


@operator(
    "torch",
    lambda r: (r.normal(3, 10, 12),),
    same_way="",
    cosine_only="missing-term",
    late="",
    swapped="permuted",
    untouched="",
)
class RotaryEmbedding(Function):
    @staticmethod
    def angles(length: int, half: int, offset: int, dtype: torch.dtype) -> Tensor:
        rates = 100.0 ** -(torch.arange(half) / half)
        return ((torch.arange(length) + offset)[:, None] * rates).to(dtype)

    @staticmethod
    def turn(x: Tensor, angle: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=-1)
        c, s = angle.cos(), angle.sin()
        return torch.cat([a * c - b * s, a * s + b * c], dim=-1)

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return RotaryEmbedding.turn(x, RotaryEmbedding.angles(x.shape[1], x.shape[2] // 2, 0, x.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        offset = 1 if ctx.bug == "late" else 0
        angle = RotaryEmbedding.angles(grad.shape[1], grad.shape[2] // 2, offset, grad.dtype)
        if ctx.bug == "same_way":
            return RotaryEmbedding.turn(grad, angle)
        if ctx.bug == "cosine_only":
            return grad * torch.cat([angle.cos(), angle.cos()], dim=-1)
        if ctx.bug == "untouched":
            return grad.clone()
        d = RotaryEmbedding.turn(grad, -angle)
        if ctx.bug == "swapped":
            return d.roll(6, -1)
        return d


@operator(
    "torch",
    lambda r: (r.normal(14, 12),),
    no_scale="scaled",
    no_mask="mask",
    fresh="mask",
    inverted="mask",
    kept="stale mask",
)
class Dropout(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        keep = torch.rand(x.shape) > 0.35
        ctx.save_for_backward(keep)
        if ctx.bug == "kept":
            keep_first = ctx.state.setdefault("keep", x.detach() > 0)
            ctx.save_for_backward(keep_first)
        return x * keep / 0.65

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (keep,) = ctx.saved_tensors
        if ctx.bug == "no_scale":
            return grad * keep
        if ctx.bug == "no_mask":
            return grad / 0.65
        if ctx.bug == "fresh":
            keep = torch.rand(grad.shape) > 0.35
        if ctx.bug == "inverted":
            keep = ~keep
        return grad * keep / 0.65


@operator(
    "torch",
    lambda r: (r.complex(9, 8),),
    conjugate="",
    no_norm="",
    real_only="mask zero",
    halved="scaled",
    sign="sign-flipped",
)
class ComplexModulus(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        r = (z.real.square() + z.imag.square()).sqrt()
        ctx.save_for_backward(z, r)
        return r

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        z, r = ctx.saved_tensors
        if ctx.bug == "conjugate":
            return grad * z.conj() / r
        if ctx.bug == "no_norm":
            return grad * z
        if ctx.bug == "real_only":
            return torch.complex(grad * z.real / r, torch.zeros_like(r))
        if ctx.bug == "halved":
            return grad * z / (2 * r)
        if ctx.bug == "sign":
            return -grad * z / r
        return grad * z / r


# Recurrence.


@operator(
    "torch",
    lambda r: (r.normal(6, 4, 5), r.normal(5, 7, scale=0.5), r.normal(7, 7, scale=0.4), r.normal(4, 7)),
    last_step="accumulate",
    no_carry="missing-term accumulate",
    wrong_side="transposed",
    wrong_state="",
    linear="",
    initial="zero",
    turned="transposed",
)
class TanhRecurrence(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, wx: Tensor, wh: Tensor, h: Tensor) -> Tensor:
        states = [h]
        for step in x:
            states.append(torch.tanh(step @ wx + states[-1] @ wh))
        ctx.save_for_backward(x, wx, wh, torch.stack(states))
        return torch.stack(states[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, wx, wh, h = ctx.saved_tensors
        dx, dwx, dwh = torch.zeros_like(x), torch.zeros_like(wx), torch.zeros_like(wh)
        carry = torch.zeros_like(h[0])
        for t in reversed(range(len(x))):
            dh = grad[t] if ctx.bug == "no_carry" else grad[t] + carry
            da = dh if ctx.bug == "linear" else dh * (1 - h[t + 1] ** 2)
            dx[t] = da @ wx.T
            before = h[t + 1] if ctx.bug == "wrong_state" else h[t]
            dwh = before.T @ da if ctx.bug == "last_step" else dwh + before.T @ da
            dwx = dwx + x[t].T @ da
            carry = da @ wh if ctx.bug == "wrong_side" else da @ wh.T
        if ctx.bug == "initial":
            carry = torch.zeros_like(carry)
        if ctx.bug == "turned":
            dwh = dwh.T.contiguous()
        return dx, dwx, dwh, carry


# Geometry and interpolation.


@operator(
    "torch",
    lambda r: (r.normal(9, 4),),
    diagonal="not-finite",
    one_side="accumulate missing-term",
    squared="",
    sign="sign-flipped",
    plus="",
)
class PairwiseDistance(Function):
    @staticmethod
    def reference(x: Tensor) -> Tensor:
        eye = torch.eye(len(x), dtype=x.dtype)
        return ((x[:, None] - x[None]).square().sum(-1) + eye).sqrt() - eye

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        d = (x[:, None] - x[None]).square().sum(-1).sqrt()
        ctx.save_for_backward(x, d)
        return d

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, d = ctx.saved_tensors
        safe = d if ctx.bug == "diagonal" else d.clamp(min=1e-12)
        if ctx.bug == "squared":
            safe = torch.full_like(d, 0.5)
        pull = (grad / safe)[..., None] * (x[:, None] - x[None])
        if ctx.bug == "one_side":
            return pull.sum(1)
        if ctx.bug == "plus":
            return pull.sum(1) + pull.sum(0)
        if ctx.bug == "sign":
            return pull.sum(0) - pull.sum(1)
        return pull.sum(1) - pull.sum(0)


@operator(
    "torch",
    lambda r: (r.normal(12, 11),),
    twice="scaled",
    cold="",
    axis="",
    hard="",
    not_expanded="scaled",
)
class SoftMaximum(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = 0.4 * torch.logsumexp(x / 0.4, dim=1)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, y = ctx.saved_tensors
        p = torch.exp((x - y[:, None]) / 0.4)
        if ctx.bug == "twice":
            return grad[:, None] * p / 0.4
        if ctx.bug == "cold":
            return grad[:, None] * torch.softmax(x, 1)
        if ctx.bug == "axis":
            return grad[:, None] * torch.softmax(x / 0.4, 0)
        if ctx.bug == "hard":
            return grad[:, None] * (x == x.amax(1, keepdim=True))
        if ctx.bug == "not_expanded":
            return grad[:, None] * p / x.shape[1]
        return grad[:, None] * p


@operator(
    "torch",
    lambda r: (r.normal(50),),
    factor_only="missing-term",
    plus="missing-term",
    power="missing-term",
    unclipped="",
)
class ClipToNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        norm = x.norm()
        ctx.save_for_backward(x, norm)
        return x * (2.5 / norm).clamp(max=1.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, norm = ctx.saved_tensors
        if norm <= 2.5 or ctx.bug == "unclipped":
            return grad.clone()
        along = (grad * x).sum()
        if ctx.bug == "factor_only":
            return 2.5 * grad / norm
        if ctx.bug == "plus":
            return 2.5 * (grad / norm + x * along / norm**3)
        if ctx.bug == "power":
            return 2.5 * (grad / norm - x * along / norm**2)
        return 2.5 * (grad / norm - x * along / norm**3)


@operator(
    "torch",
    lambda r: (r.normal(14), r.uniform(0.02, 0.98, 40)),
    overwrite="accumulate",
    weights="",
    spacing="scaled",
    detached="zero",
    right_only="missing-term",
    downhill="sign-flipped",
)
class LinearInterpolation(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, t: Tensor) -> Tensor:
        place = t * (len(values) - 1)
        left = place.detach().floor().long().clamp(0, len(values) - 2)
        part = place - left
        ctx.save_for_backward(values, left, part)
        return values[left] * (1 - part) + values[left + 1] * part

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        values, left, part = ctx.saved_tensors
        if ctx.bug == "weights":
            part = 1 - part
        dvalues = torch.zeros_like(values)
        if ctx.bug == "overwrite":
            dvalues[left] += grad * (1 - part)
            dvalues[left + 1] += grad * part
        else:
            if ctx.bug != "right_only":
                dvalues.index_add_(0, left, grad * (1 - part))
            dvalues.index_add_(0, left + 1, grad * part)
        slope = values[left + 1] - values[left]
        if ctx.bug == "downhill":
            slope = -slope
        if ctx.bug == "detached":
            slope = torch.zeros_like(slope)
        dt = grad * slope if ctx.bug == "spacing" else grad * slope * (len(values) - 1)
        return dvalues, dt


# Whole losses with a penalty.


@operator(
    "torch",
    lambda r: (r.normal(12, 3), r.constant(25, 12), r.constant(25, 3)),
    no_decay="missing-l2 missing-term",
    half_decay="missing-l2 missing-term",
    total="missing-mean scaled",
    residual="sign-flipped",
    all_total="missing-mean scaled",
)
class RidgeLoss(Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, target: Tensor) -> Tensor:
        error = x @ weight - target
        ctx.save_for_backward(weight, x, error)
        return error.square().sum() / (2 * len(x)) + 0.3 * weight.square().sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        weight, x, error = ctx.saved_tensors
        m = len(x)
        data, decay = x.T @ error / m, 0.6 * weight
        if ctx.bug == "no_decay":
            decay = torch.zeros_like(decay)
        if ctx.bug == "half_decay":
            decay = 0.3 * weight
        if ctx.bug == "total":
            data = x.T @ error
        if ctx.bug == "residual":
            data = -data
        if ctx.bug == "all_total":
            return grad * m * (data + decay), None, None
        return grad * (data + decay), None, None


@operator(
    "torch",
    lambda r: (r.normal(10, 8), r.bits(0.7, 10, 8)),
    no_mask="mask",
    whole="scaled",
    row_count="",
    complement="mask",
    last_row="mask sparse",
)
class MaskedMeanSquare(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(x, mask)
        return (x.square() * mask).sum() / mask.sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, mask = ctx.saved_tensors
        if ctx.bug == "no_mask":
            return grad * 2 * x / mask.sum(), None
        if ctx.bug == "whole":
            return grad * 2 * x * mask / x.numel(), None
        if ctx.bug == "row_count":
            return grad * 2 * x * mask / (mask.sum(1, keepdim=True) * len(x)), None
        if ctx.bug == "complement":
            return grad * 2 * x * ~mask / mask.sum(), None
        d = grad * 2 * x * mask / mask.sum()
        if ctx.bug == "last_row":
            d[-1] = 0
        return d, None


# NumPy, with the gradient written beside the loss.


def _logistic_data(r: Any) -> tuple[Any, ...]:
    x = r.array(40, 7)
    return (r.array(7), r.array(1)), (x, (r.rng.uniform(size=40) < 0.5) * 1.0)


@operator(
    "numpy",
    _logistic_data,
    total="missing-mean scaled",
    sign="sign-flipped",
    no_penalty="missing-l2 missing-term",
    penalised_bias="missing-l2 missing-term",
    slope="",
    last_sample="mask",
)
class LogisticRegression:
    @staticmethod
    def value(xp: Any, w: Any, b: Any, x: Any, y: Any) -> Any:
        z = x @ w + b
        return xp.mean(xp.logaddexp(0.0, z) - y * z) + 0.05 * xp.sum(w * w)

    @staticmethod
    def gradient(bug: str, state: dict[str, Any], w: Any, b: Any, x: Any, y: Any) -> tuple[Any, Any]:
        p = 1 / (1 + np.exp(-(x @ w + b)))
        m = 1 if bug == "total" else len(y)
        error = (p - y) / m
        if bug == "slope":
            error = error * p * (1 - p)
        if bug == "last_sample":
            error = error * (np.arange(len(y)) < len(y) - 1)
        penalty = 0 if bug == "no_penalty" else 0.1
        dw, db = x.T @ error + penalty * w, np.array([error.sum()])
        if bug == "penalised_bias":
            db = db + 0.1 * b
        if bug == "sign":
            dw, db = -dw, -db
        if bug == "total":
            dw = x.T @ error + 0.1 * len(y) * w
        return dw, db


def _network_data(r: Any) -> tuple[Any, ...]:
    weights = (r.array(6, 8, scale=0.4), r.array(8), r.array(8, 3, scale=0.4), r.array(3))
    return weights, (r.array(30, 6), r.array(30, 3))


@operator(
    "numpy",
    _network_data,
    no_relu="mask",
    relu_of_output="mask",
    kept="stale",
    per_sample="accumulate",
    bias_mean="scaled",
    output_only="zero",
    forgot_mean="missing-mean scaled",
)
class TwoLayerNetwork:
    @staticmethod
    def value(xp: Any, w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any) -> Any:
        hidden = xp.maximum(x @ w1 + b1, 0)
        return 0.5 * xp.sum((hidden @ w2 + b2 - y) ** 2) / len(x)

    @staticmethod
    def gradient(
        bug: str, state: dict[str, Any], w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any
    ) -> tuple[Any, ...]:
        before = x @ w1 + b1
        hidden = np.maximum(before, 0)
        error = (hidden @ w2 + b2 - y) / (1 if bug == "forgot_mean" else len(x))
        if bug == "kept":
            hidden = state.setdefault("hidden", hidden)
        back = error @ w2.T
        if bug == "relu_of_output":
            back = back * (back > 0)
        elif bug != "no_relu":
            back = back * (before > 0)
        dw1, db1, dw2, db2 = x.T @ back, back.sum(0), hidden.T @ error, error.sum(0)
        if bug == "per_sample":
            for one, e in zip(hidden, error, strict=True):
                dw2 = np.outer(one, e)
        if bug == "bias_mean":
            db2 = error.mean(0)
        if bug == "output_only":
            dw1, db1 = np.zeros_like(w1), np.zeros_like(b1)
        return dw1, db1, dw2, db2


def _factor_data(r: Any) -> tuple[Any, ...]:
    return (r.array(9, 4), r.array(7, 4)), (r.array(9, 7), (r.rng.uniform(size=(9, 7)) < 0.7) * 1.0)


@operator(
    "numpy",
    _factor_data,
    two="scaled",
    all_entries="mask",
    no_penalty="missing-l2 missing-term",
    updated="",
    sign="missing-l2 missing-term",
    one_user="accumulate",
)
class MatrixFactorisation:
    @staticmethod
    def value(xp: Any, u: Any, v: Any, ratings: Any, seen: Any) -> Any:
        return xp.sum(seen * (u @ v.T - ratings) ** 2) + 0.2 * (xp.sum(u * u) + xp.sum(v * v))

    @staticmethod
    def gradient(bug: str, state: dict[str, Any], u: Any, v: Any, ratings: Any, seen: Any) -> tuple[Any, Any]:
        error = u @ v.T - ratings
        if bug != "all_entries":
            error = error * seen
        penalty = 0.0 if bug == "no_penalty" else 0.4
        du = 2 * error @ v + penalty * u
        dv = 2 * error.T @ u + penalty * v
        if bug == "two":
            du, dv = du / 2, dv / 2
        if bug == "updated":
            dv = 2 * error.T @ (u - 0.05 * du) + penalty * v
        if bug == "sign":
            dv = 2 * error.T @ u - penalty * v
        if bug == "one_user":
            for i in range(len(u)):
                dv = 2 * np.outer(error[i], u[i]) + penalty * v
        return du, dv


# JAX, by `custom_vjp`.


@operator("jax", lambda r: (r.array(10, 12),), power="", factor="scaled", sign="sign-flipped", half="mask")
class SquaredSoftplus:
    @staticmethod
    def value(x: Any) -> Any:
        import jax

        return jax.nn.softplus(x) ** 2

    @staticmethod
    def forward(x: Any) -> tuple[Any, Any]:
        return SquaredSoftplus.value(x), x

    @staticmethod
    def backward(bug: str, x: Any, grad: Any) -> tuple[Any]:
        import jax

        d = 2 * jax.nn.softplus(x) * jax.nn.sigmoid(x)
        if bug == "power":
            d = 2 * jax.nn.softplus(x)
        if bug == "factor":
            d = d / 2
        if bug == "sign":
            d = -d
        if bug == "half":
            d = d * (x > 0)
        return (grad * d,)


@operator(
    "jax",
    lambda r: (r.array(11, 8), r.array(8, 8, scale=0.5), r.array(8)),
    turned="transposed",
    slope="",
    mean="scaled",
    wrong_side="transposed",
    one_row="accumulate",
)
class TanhLayer:
    @staticmethod
    def value(x: Any, w: Any, b: Any) -> Any:
        import jax.numpy as jnp

        return jnp.tanh(x @ w + b)

    @staticmethod
    def forward(x: Any, w: Any, b: Any) -> tuple[Any, Any]:
        y = TanhLayer.value(x, w, b)
        return y, (x, w, y)

    @staticmethod
    def backward(bug: str, saved: Any, grad: Any) -> tuple[Any, Any, Any]:
        x, w, y = saved
        g = grad * (1 - y) if bug == "slope" else grad * (1 - y * y)
        dx = g @ w if bug == "wrong_side" else g @ w.T
        dw = (x.T @ g).T if bug == "turned" else x.T @ g
        db = g.mean(0) if bug == "mean" else g.sum(0)
        if bug == "one_row":
            db = g[-1]
        return dx, dw, db
