"""Operators with a backward pass written by hand, as people write them, and the mistakes they make: the second half.

The names beside each bug are true of it in the sense of the first half.
"""

from __future__ import annotations

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


@operator("torch", lambda r: (r.normal(15, 12),), no_branch="mask", of_output="", one_less="", scale="scaled")
class ScaledElu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = 1.05 * torch.where(x > 0, x, 1.67 * torch.expm1(x))
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, y = ctx.saved_tensors
        low = 1.67 * x.exp()
        if ctx.bug == "of_output":
            low = 1.67 * y.exp()
        if ctx.bug == "one_less":
            low = 1.67 * torch.expm1(x)
        if ctx.bug == "no_branch":
            return 1.05 * grad
        d = torch.where(x > 0, torch.ones_like(x), low)
        return grad * d if ctx.bug == "scale" else 1.05 * grad * d


@operator(
    "torch", lambda r: (r.normal(11, 15),), product="missing-term", sigmoid="", tanh="", fp16="low-precision"
)
class Mish(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        t = torch.tanh(F.softplus(x))
        ctx.save_for_backward(x, t)
        return x * t

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, t = ctx.saved_tensors
        inner = torch.ones_like(x) if ctx.bug == "sigmoid" else torch.sigmoid(x)
        slope = inner if ctx.bug == "tanh" else (1 - t * t) * inner
        if ctx.bug == "product":
            return grad * t
        d = t + x * slope
        return coarse(grad * d, torch.float16) if ctx.bug == "fp16" else grad * d


@operator(
    "torch",
    lambda r: (r.normal(18, 10, scale=2.5),),
    unclamped="mask",
    low_only="mask",
    half="",
    tail="mask",
    sign="sign-flipped",
)
class HardSwish(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * (x + 3).clamp(0, 6) / 6

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        middle = (x + 3) / 6 if ctx.bug == "half" else (2 * x + 3) / 6
        if ctx.bug == "unclamped":
            return grad * middle
        d = torch.where(x < -3, torch.zeros_like(x), middle)
        if ctx.bug != "low_only":
            d = torch.where(x > 3, torch.ones_like(x), d)
        if ctx.bug == "tail":
            d = torch.where(x > 3, torch.zeros_like(x), d)
        return -grad * d if ctx.bug == "sign" else grad * d


@operator(
    "torch",
    lambda r: (r.normal(8, 6, 7), r.normal(6, scale=0.3)),
    all_of_x="mask",
    last="accumulate",
    averaged="scaled",
    detached="zero",
    no_slope="",
)
class ChannelPRelu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return torch.where(x > 0, x, slope[:, None] * x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        below = torch.where(x > 0, torch.zeros_like(x), grad * x)
        if ctx.bug == "all_of_x":
            below = grad * x
        dslope = below.sum((0, 2))
        if ctx.bug == "last":
            for sample in below:
                dslope = sample.sum(1)
        if ctx.bug == "averaged":
            dslope = below.mean((0, 2))
        if ctx.bug == "detached":
            dslope = torch.zeros_like(slope)
        factor = slope.mean() if ctx.bug == "no_slope" else slope[:, None]
        return torch.where(x > 0, grad, factor * grad), dslope


@operator(
    "torch",
    lambda r: (r.normal(10, 14),),
    jacobian_diagonal="missing-term",
    axis="",
    mean="missing-term",
    temperature="scaled",
    kept="stale",
)
class TemperedSoftmax(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        p = torch.softmax(x / 0.7, dim=1)
        kept = ctx.state.setdefault("p", p.detach()) if ctx.bug == "kept" else p
        ctx.save_for_backward(kept)
        return p

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (p,) = ctx.saved_tensors
        inner = (grad * p).sum(1, keepdim=True)
        if ctx.bug == "jacobian_diagonal":
            return grad * p * (1 - p) / 0.7
        if ctx.bug == "axis":
            inner = (grad * p).sum(0)
        if ctx.bug == "mean":
            inner = torch.zeros_like(inner)
        d = p * (grad - inner)
        return d if ctx.bug == "temperature" else d / 0.7


@operator(
    "torch",
    lambda r: (r.normal(13, 11),),
    identity="missing-term",
    of_log="",
    uniform="",
    axis="",
    bf16="low-precision",
)
class LogSoftmax(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x - torch.logsumexp(x, 1, keepdim=True)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        p = y.exp()
        if ctx.bug == "identity":
            return grad.clone()
        if ctx.bug == "of_log":
            p = y
        if ctx.bug == "uniform":
            p = torch.full_like(y, 1 / y.shape[1])
        if ctx.bug == "axis":
            return grad - p * grad.sum(0)
        d = grad - p * grad.sum(1, keepdim=True)
        return coarse(d) if ctx.bug == "bf16" else d


# Normalisations.


@operator(
    "torch",
    lambda r: (r.normal(3, 6, 8), r.normal(6), r.normal(6)),
    no_mean="missing-term",
    per_channel="",
    weight_order="",
    one_sample="accumulate",
    groups_rolled="permuted",
    total="missing-mean",
)
class GroupNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        g = x.reshape(x.shape[0], 2, -1)
        rstd = (g.var(-1, correction=0, keepdim=True) + 1e-5).rsqrt()
        xhat = (g - g.mean(-1, keepdim=True)) * rstd
        ctx.save_for_backward(xhat, rstd, weight)
        return xhat.reshape(x.shape) * weight[:, None] + bias[:, None]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        xhat, rstd, weight = ctx.saved_tensors
        flat = xhat.reshape(grad.shape)
        w = weight.roll(1) if ctx.bug == "weight_order" else weight
        gw = (grad * w[:, None]).reshape(xhat.shape)
        centre, spread = gw.mean(-1, keepdim=True), (gw * xhat).mean(-1, keepdim=True)
        if ctx.bug == "no_mean":
            centre = torch.zeros_like(centre)
        if ctx.bug == "total":
            spread = (gw * xhat).sum(-1, keepdim=True)
        if ctx.bug == "per_channel":
            centre = (grad * w[:, None]).mean(-1, keepdim=True).expand(grad.shape).reshape(xhat.shape)
        dx = (rstd * (gw - centre - xhat * spread)).reshape(grad.shape)
        dweight = (grad * flat)[0].sum(-1) if ctx.bug == "one_sample" else (grad * flat).sum((0, 2))
        if ctx.bug == "groups_rolled":
            dweight = dweight.roll(3)
        return dx, dweight, grad.sum((0, 2))


@operator(
    "torch",
    lambda r: (r.normal(7, 9), r.normal(7)),
    projection="missing-term",
    whole="",
    gain="",
    no_gain="",
    unnormalised="",
    detached="zero",
)
class WeightNorm(Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, g: Tensor) -> Tensor:
        norm = v.norm(dim=1, keepdim=True)
        ctx.save_for_backward(v, g, norm)
        return g[:, None] * v / norm

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        v, g, norm = ctx.saved_tensors
        unit = v / norm
        along = (grad * unit).sum(1, keepdim=True)
        dg = along[:, 0]
        if ctx.bug == "unnormalised":
            dg = (grad * v).sum(1)
        if ctx.bug == "detached":
            dg = torch.zeros_like(g)
        if ctx.bug == "projection":
            return g[:, None] * grad / norm, dg
        if ctx.bug == "whole":
            along = (grad * unit).sum()
        if ctx.bug == "gain":
            return g[:, None] * grad / norm - unit * along, dg
        if ctx.bug == "no_gain":
            return (grad - unit * along) / norm, dg
        return g[:, None] * (grad - unit * along) / norm, dg


@operator(
    "torch",
    lambda r: (r.normal(9, 16),),
    biased="scaled",
    uncentred="missing-term",
    squared="",
    sign="sign-flipped",
    not_divided="missing-mean scaled",
)
class RowDeviation(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        s = x.std(1)
        ctx.save_for_backward(x, s)
        return s

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, s = ctx.saved_tensors
        centred = x if ctx.bug == "uncentred" else x - x.mean(1, keepdim=True)
        n = x.shape[1] if ctx.bug == "biased" else x.shape[1] - 1
        if ctx.bug == "squared":
            return grad[:, None] * centred / n
        if ctx.bug == "not_divided":
            return grad[:, None] * centred / s[:, None]
        d = grad[:, None] * centred / (n * s[:, None])
        return -d if ctx.bug == "sign" else d


# Losses.


@operator(
    "torch",
    lambda r: (r.normal(12, 9), r.normal(12, 9)),
    swapped="sign-flipped",
    square="scaled",
    teacher="zero",
    total="missing-mean scaled",
    softer="",
    teacher_cross="missing-term",
)
class Distillation(Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        q, p = F.log_softmax(student / 2, 1), F.log_softmax(teacher / 2, 1)
        ctx.save_for_backward(q, p)
        return 4 * (p.exp() * (p - q)).sum() / len(q)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        q, p = ctx.saved_tensors
        m = 1 if ctx.bug == "total" else len(q)
        scale = grad * 2 / m
        student = scale * (q.exp() - p.exp())
        if ctx.bug == "swapped":
            student = -student
        if ctx.bug == "square":
            student = student / 4
        if ctx.bug == "softer":
            student = scale * (torch.softmax(2 * q, 1) - torch.softmax(2 * p, 1))
        gap = p - q
        mean = (p.exp() * gap).sum(1, keepdim=True)
        if ctx.bug == "teacher_cross":
            mean = torch.zeros_like(mean)
        teacher = scale * p.exp() * (gap - mean)
        if ctx.bug == "teacher":
            teacher = torch.zeros_like(teacher)
        return student, teacher


@operator(
    "torch",
    lambda r: (r.normal(20, 7), r.integers(7, 20)),
    no_target="missing-term",
    one="",
    every_class="mask",
    margin="mask",
    total="missing-mean scaled",
    last_sample="mask sparse",
)
class MulticlassHinge(Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, target: Tensor) -> Tensor:
        margins = (scores - scores.gather(1, target[:, None]) + 1).clamp(min=0)
        margins = margins * (1 - F.one_hot(target, scores.shape[1]).to(scores.dtype))
        ctx.save_for_backward(scores, margins, target)
        return margins.sum() / len(scores)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        scores, margins, target = ctx.saved_tensors
        active = (margins > 0).to(scores.dtype)
        if ctx.bug == "every_class":
            active = 1 - F.one_hot(target, scores.shape[1]).to(scores.dtype)
        if ctx.bug == "margin":
            active = (margins > 1).to(scores.dtype)
        count = active.sum(1, keepdim=True)
        if ctx.bug == "one":
            count = torch.ones_like(count)
        if ctx.bug != "no_target":
            active = active.scatter(1, target[:, None], -count)
        if ctx.bug == "last_sample":
            active[-2:] = 0
        return grad * active / (1 if ctx.bug == "total" else len(scores)), None


@operator(
    "torch",
    lambda r: (r.normal(14, 8), r.normal(14, 8)),
    projection="missing-term",
    norms="",
    same="",
    second="sign-flipped",
    half="missing-term",
)
class CosineSimilarity(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        na, nb = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
        c = (a * b).sum(1, keepdim=True) / (na * nb)
        ctx.save_for_backward(a, b, na, nb, c)
        return c[:, 0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, b, na, nb, c = ctx.saved_tensors
        g = grad[:, None]
        da = g * (b / (na * nb) - c * a / na**2)
        db = g * (a / (na * nb) - c * b / nb**2)
        if ctx.bug == "projection":
            return g * b / (na * nb), g * a / (na * nb)
        if ctx.bug == "norms":
            da = g * (b / (na * nb) - c * a / (na * nb))
        if ctx.bug == "same":
            db = da
        if ctx.bug == "second":
            db = -db
        if ctx.bug == "half":
            db = g * a / (na * nb)
        return da, db


@operator(
    "torch",
    lambda r: (r.normal(10, 6), r.normal(10, 6)),
    keys_turned="transposed",
    temperature="scaled",
    no_positive="missing-term",
    detached_keys="zero",
    column="",
    shifted="",
)
class InfoNce(Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor) -> Tensor:
        logp = torch.log_softmax(q @ k.T / 0.5, dim=1)
        ctx.save_for_backward(q, k, logp)
        return -logp.diagonal().mean()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        q, k, logp = ctx.saved_tensors
        p = logp.exp()
        if ctx.bug == "column":
            p = p / p.sum(0)
        eye = torch.eye(len(q), dtype=q.dtype)
        if ctx.bug == "no_positive":
            eye = torch.zeros_like(eye)
        if ctx.bug == "shifted":
            eye = eye.roll(1, 0)
        d = grad * (p - eye) / len(q)
        if ctx.bug != "temperature":
            d = d / 0.5
        dk = d @ q if ctx.bug == "keys_turned" else d.T @ q
        return d @ k, torch.zeros_like(k) if ctx.bug == "detached_keys" else dk


@operator(
    "torch",
    lambda r: (r.normal(30, 12), r.integers(12, 30), r.bits(0.8, 30)),
    unsmoothed="missing-term",
    ignored="mask",
    all_rows="scaled",
    full="sparse",
    sign="sign-flipped",
)
class SmoothedCrossEntropy(Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, used: Tensor) -> Tensor:
        logp = logits.log_softmax(1)
        ctx.save_for_backward(logp, target, used)
        each = 0.8 * logp.gather(1, target[:, None])[:, 0] + 0.2 * logp.mean(1)
        return -(each * used).sum() / used.sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        logp, target, used = ctx.saved_tensors
        classes = logp.shape[1]
        hot = F.one_hot(target, classes).to(logp.dtype)
        want = 0.8 * hot + 0.2 / classes
        if ctx.bug == "unsmoothed":
            want = 0.8 * hot
        if ctx.bug == "full":
            want = hot + 0.2 / classes
        d = logp.exp() - want
        if ctx.bug != "ignored":
            d = d * used[:, None]
        if ctx.bug == "sign":
            d = -d
        return grad * d / (len(used) if ctx.bug == "all_rows" else used.sum()), None, None


@operator(
    "torch",
    lambda r: (r.normal(16, 5), r.normal(16, 5), r.normal(16, 5)),
    no_mask="mask",
    anchor="missing-term",
    negative="sign-flipped",
    two="scaled",
    positive="zero",
    total="missing-mean scaled",
)
class TripletMargin(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, p: Tensor, n: Tensor) -> Tensor:
        gap = (a - p).square().sum(1) - (a - n).square().sum(1) + 1.0
        ctx.save_for_backward(a, p, n, gap)
        return gap.clamp(min=0).mean()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, p, n, gap = ctx.saved_tensors
        active = (gap > 0).to(a.dtype)[:, None]
        if ctx.bug == "no_mask":
            active = torch.ones_like(active)
        scale = 1.0 if ctx.bug == "two" else 2.0
        g = scale * grad * active / (1 if ctx.bug == "total" else len(a))
        da, dp, dn = g * (n - p), g * (p - a), g * (a - n)
        if ctx.bug == "anchor":
            da = g * (a - p)
        if ctx.bug == "negative":
            dn = -dn
        if ctx.bug == "positive":
            dp = torch.zeros_like(p)
        return da, dp, dn


# Attention.


@operator(
    "torch",
    lambda r: (r.normal(8, 5), r.normal(8, 5), r.normal(8, 5)),
    no_normaliser="missing-term",
    key_normaliser="missing-term",
    feature="",
    state_turned="transposed",
    values="scaled",
)
class LinearAttention(Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        fq, fk = F.elu(q) + 1, F.elu(k) + 1
        state, total = fk.T @ v, fk.sum(0)
        z = fq @ total
        y = fq @ state / z[:, None]
        ctx.save_for_backward(q, k, v, fq, fk, state, total, z, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, fq, fk, state, total, z, y = ctx.saved_tensors
        g = grad / z[:, None]
        dz = -(g * y).sum(1)
        dstate = fq.T @ g
        s = state.T if ctx.bug == "state_turned" else state
        dfq = g @ s.T + dz[:, None] * total
        dfk = v @ dstate.T + fq.T @ dz
        if ctx.bug == "no_normaliser":
            dfq, dfk = g @ state.T, v @ dstate.T
        if ctx.bug == "key_normaliser":
            dfk = v @ dstate.T
        dq, dk = dfq * torch.where(q > 0, 1.0, q.exp()), dfk * torch.where(k > 0, 1.0, k.exp())
        if ctx.bug == "feature":
            dq, dk = dfq * fq, dfk * fk
        dv = fk @ dstate
        return dq, dk, dv / len(v) if ctx.bug == "values" else dv


@operator(
    "torch",
    lambda r: (r.normal(3, 7, 7), r.normal(13)),
    overwrite="accumulate",
    one_head="accumulate",
    reversed_distance="permuted",
    off_by_one="permuted",
    averaged="scaled",
    causal="mask",
)
class RelativePositionBias(Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, table: Tensor) -> Tensor:
        n = scores.shape[-1]
        place = torch.arange(n)[:, None] - torch.arange(n) + n - 1
        ctx.save_for_backward(place)
        return scores + table[place]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        (place,) = ctx.saved_tensors
        size = 2 * len(place) - 1
        heads = grad.sum(0)
        if ctx.bug == "one_head":
            heads = grad[-1]
        if ctx.bug == "averaged":
            heads = grad.mean(0)
        if ctx.bug == "causal":
            heads = heads.tril()
        if ctx.bug == "reversed_distance":
            place = place.T
        if ctx.bug == "off_by_one":
            place = (place + 1) % size
        dtable = grad.new_zeros(size)
        if ctx.bug == "overwrite":
            dtable[place.flatten()] = heads.flatten()
        else:
            dtable.index_add_(0, place.flatten(), heads.flatten())
        return grad.clone(), dtable


# Convolution, pooling, upsampling.


@operator(
    "torch",
    lambda r: (r.normal(2, 3, 7, 7), r.normal(3, 3, 3)),
    turned="transposed",
    one_image="accumulate",
    corner="sparse mask",
    unflipped="permuted",
    edge="mask",
    averaged="scaled",
)
class DepthwiseConvolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        patches = F.pad(x, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1)
        ctx.save_for_backward(patches, weight)
        return torch.einsum("bchwij,cij->bchw", patches, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        patches, weight = ctx.saved_tensors
        h, w = grad.shape[2:]
        taps = weight.flip(1, 2) if ctx.bug == "unflipped" else weight
        padded = grad.new_zeros(*grad.shape[:2], h + 2, w + 2)
        for i in range(3):
            for j in range(3):
                padded[:, :, i : i + h, j : j + w] += grad * taps[:, i, j, None, None]
        dx = padded[:, :, 1:-1, 1:-1].clone()
        if ctx.bug == "corner":
            dx[:, :, -1, -1] = 0
        if ctx.bug == "edge":
            dx[:, :, [0, -1]] = 0
            dx[:, :, :, [0, -1]] = 0
        dweight = torch.einsum("bchw,bchwij->cij", grad, patches)
        if ctx.bug == "turned":
            dweight = dweight.transpose(1, 2).contiguous()
        if ctx.bug == "one_image":
            dweight = torch.einsum("chw,chwij->cij", grad[0], patches[0])
        if ctx.bug == "averaged":
            dweight = dweight / (h * w)
        return dx, dweight


@operator(
    "torch",
    lambda r: (r.normal(2, 3, 9, 9),),
    unscaled="scaled",
    padding_counted="sparse",
    top_left="mask",
    overlap="accumulate",
    turned="transposed",
)
class AveragePool(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.unfold(2, 3, 2).unfold(3, 3, 2).mean((-1, -2))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        h, w = grad.shape[2:]
        dx = grad.new_zeros(*grad.shape[:2], 2 * h + 1, 2 * w + 1)
        share = grad if ctx.bug == "unscaled" else grad / 9
        for i in range(3):
            for j in range(3):
                if ctx.bug == "top_left" and i + j:
                    continue
                rows, columns = slice(i, i + 2 * h, 2), slice(j, j + 2 * w, 2)
                if ctx.bug == "overlap":
                    dx[:, :, rows, columns] = share
                else:
                    dx[:, :, rows, columns] += share
        if ctx.bug == "padding_counted":
            dx[:, :, 0] *= 1.5
        return dx.transpose(2, 3).contiguous() if ctx.bug == "turned" else dx


@operator(
    "torch",
    lambda r: (r.normal(3, 4, 8), r.normal(4, 4, 3)),
    last_tap="accumulate",
    channels="transposed",
    stride="",
    flipped="permuted",
    averaged="scaled",
    wrong_channels="transposed",
)
class TransposedConvolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        b, _, n = x.shape
        y = x.new_zeros(b, weight.shape[1], 2 * n + 1)
        for k in range(3):
            y[:, :, k : k + 2 * n : 2] += torch.einsum("bcl,co->bol", x, weight[..., k])
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        n = x.shape[2]
        dx, dweight = torch.zeros_like(x), torch.zeros_like(weight)
        for k in range(3):
            g = grad[:, :, k : k + n] if ctx.bug == "stride" else grad[:, :, k : k + 2 * n : 2]
            back = torch.einsum("bol,co->bcl", g, weight[..., k])
            if ctx.bug == "wrong_channels":
                back = torch.einsum("bol,oc->bcl", g, weight[..., k])
            dx = back if ctx.bug == "last_tap" else dx + back
            dweight[..., k] = torch.einsum("bcl,bol->co", x, g)
        if ctx.bug == "channels":
            dweight = dweight.transpose(0, 1).contiguous()
        if ctx.bug == "flipped":
            dweight = dweight.flip(-1)
        return dx, dweight / len(x) if ctx.bug == "averaged" else dweight


@operator(
    "torch",
    lambda r: (r.normal(2, 8, 4, 5),),
    order="permuted",
    plain="permuted",
    scaled="scaled",
    one="mask",
)
class PixelShuffle(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        return x.reshape(b, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c // 4, 2 * h, 2 * w)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        b, c, h, w = grad.shape
        shape = (b, 4 * c, h // 2, w // 2)
        blocks = grad.reshape(b, c, h // 2, 2, w // 2, 2)
        if ctx.bug == "plain":
            return grad.reshape(shape)
        if ctx.bug == "order":
            return blocks.permute(0, 1, 5, 3, 2, 4).reshape(shape)
        d = blocks.permute(0, 1, 3, 5, 2, 4).reshape(shape)
        if ctx.bug == "scaled":
            return d / 4
        if ctx.bug == "one":
            d[:, 1::4] = 0
        return d


@operator(
    "torch",
    lambda r: (r.normal(5, 9),),
    overwrite="accumulate",
    nearest="",
    weights="",
    border="sparse mask",
    turned_round="permuted",
)
class LinearResize(Function):
    @staticmethod
    def places(n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        place = torch.linspace(0, n - 1, 20, dtype=torch.float64)
        left = place.floor().long().clamp(max=n - 2)
        return left, (place - left).to(dtype)

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        left, part = LinearResize.places(x.shape[1], x.dtype)
        ctx.n = x.shape[1]
        return x[:, left] * (1 - part) + x[:, left + 1] * part

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        left, part = LinearResize.places(ctx.n, grad.dtype)
        if ctx.bug == "nearest":
            part = part.round()
        if ctx.bug == "weights":
            part = 1 - part
        dx = grad.new_zeros(grad.shape[0], ctx.n)
        if ctx.bug == "overwrite":
            dx[:, left] += grad * (1 - part)
            dx[:, left + 1] += grad * part
        else:
            dx.index_add_(1, left, grad * (1 - part))
            dx.index_add_(1, left + 1, grad * part)
        if ctx.bug == "border":
            dx[:, -1] = 0
        return dx.flip(1) if ctx.bug == "turned_round" else dx


# Indices, segments and order.


@operator(
    "torch",
    lambda r: (r.normal(30, 5), r.integers(7, 30)),
    every_member="mask",
    shared="",
    next_member="permuted",
    smallest="mask permuted",
    one_lost="sparse mask",
)
class SegmentMax(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, segment: Tensor) -> Tensor:
        index = segment[:, None].expand_as(x)
        top = x.new_zeros(7, x.shape[1]).scatter_reduce(0, index, x, "amax", include_self=False)
        kind = "amin" if ctx.bug == "smallest" else "amax"
        chosen = x.new_zeros(7, x.shape[1]).scatter_reduce(0, index, x, kind, include_self=False)
        ctx.save_for_backward(x == chosen[segment], segment)
        return top

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        winner, segment = ctx.saved_tensors
        if ctx.bug == "every_member":
            return grad[segment], None
        if ctx.bug == "shared":
            count = segment.bincount(minlength=7).clamp(min=1)
            return (grad / count[:, None])[segment], None
        d = grad[segment] * winner
        if ctx.bug == "next_member":
            d = d.roll(1, 0)
        if ctx.bug == "one_lost":
            d[segment == segment[0]] = 0
        return d, None


@operator(
    "torch",
    lambda r: (r.normal(50), r.integers(9, 50)),
    no_sum="missing-term",
    global_sum="",
    sorted_only="",
    last_edge="sparse mask",
    kept="stale",
)
class SegmentSoftmax(Function):
    @staticmethod
    def forward(ctx: Any, score: Tensor, segment: Tensor) -> Tensor:
        e = score.exp()
        p = e / e.new_zeros(9).index_add(0, segment, e)[segment]
        kept = ctx.state.setdefault("p", p.detach()) if ctx.bug == "kept" else p
        ctx.save_for_backward(kept, segment)
        return p

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        p, segment = ctx.saved_tensors
        if ctx.bug == "no_sum":
            return p * grad, None
        if ctx.bug == "global_sum":
            return p * (grad - (p * grad).sum()), None
        inner = p.new_zeros(9).index_add(0, segment, p * grad)
        where = segment.sort().values if ctx.bug == "sorted_only" else segment
        d = p * (grad - inner[where])
        if ctx.bug == "last_edge":
            d[-4:] = 0
        return d, None


@operator(
    "torch",
    lambda r: (r.normal(25, 6), r.integers(25, 9, 4), r.normal(9, 4)),
    overwrite="accumulate",
    unweighted="",
    first_of_bag="accumulate",
    weights_detached="zero",
    averaged="scaled",
    bags_rolled="permuted",
)
class WeightedBag(Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(table, index, weight)
        return (table[index] * weight[..., None]).sum(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor]:
        table, index, weight = ctx.saved_tensors
        each = grad[:, None] * weight[..., None]
        if ctx.bug == "unweighted":
            each = grad[:, None].expand_as(each)
        dtable = torch.zeros_like(table)
        if ctx.bug == "overwrite":
            dtable[index] = each
        elif ctx.bug == "first_of_bag":
            dtable.index_add_(0, index[:, 0], each[:, 0])
        else:
            dtable.index_add_(0, index.flatten(), each.flatten(0, 1))
        dweight = (grad[:, None] * table[index]).sum(-1)
        if ctx.bug == "averaged":
            dweight = (grad[:, None] * table[index]).mean(-1)
        if ctx.bug == "weights_detached":
            dweight = torch.zeros_like(weight)
        if ctx.bug == "bags_rolled":
            dweight = dweight.roll(1, 0)
        return dtable, None, dweight


@operator(
    "torch",
    lambda r: (r.normal(9, 12),),
    first_places="permuted",
    reversed_order="permuted",
    one_less="mask sparse",
    spread="mask",
)
class TopThree(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        values, index = x.topk(3, dim=1)
        ctx.save_for_backward(index)
        ctx.shape = x.shape
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (index,) = ctx.saved_tensors
        dx = grad.new_zeros(ctx.shape)
        if ctx.bug == "first_places":
            dx[:, :3] = grad
            return dx
        if ctx.bug == "reversed_order":
            return dx.scatter(1, index.flip(1), grad)
        if ctx.bug == "one_less":
            return dx.scatter(1, index[:, :-1], grad[:, :-1])
        if ctx.bug == "spread":
            return dx + grad.sum(1, keepdim=True)
        return dx.scatter(1, index, grad)


@operator(
    "torch",
    lambda r: (r.normal(8, 13),),
    gathered="permuted",
    unsorted="permuted",
    flipped="permuted",
    first="mask sparse",
)
class SortRows(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        values, index = x.sort(dim=1)
        ctx.save_for_backward(index)
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (index,) = ctx.saved_tensors
        if ctx.bug == "gathered":
            return grad.gather(1, index)
        if ctx.bug == "unsorted":
            return grad.clone()
        d = torch.zeros_like(grad).scatter(1, index, grad)
        if ctx.bug == "flipped":
            return d.flip(1)
        if ctx.bug == "first":
            d[0] = 0
        return d


# Cumulative operations and recurrences.


@operator(
    "torch",
    lambda r: (r.normal(7, 12),),
    forwards="",
    softmax="",
    last="accumulate",
    no_weight="",
    sign="sign-flipped",
)
class LogCumulativeSumExp(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.logcumsumexp(x, 1)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, y = ctx.saved_tensors
        share = grad * (-y).exp()
        if ctx.bug == "forwards":
            return x.exp() * share.cumsum(1)
        if ctx.bug == "softmax":
            return torch.softmax(x, 1) * grad.flip(1).cumsum(1).flip(1)
        if ctx.bug == "last":
            return x.exp() * share[:, -1:]
        if ctx.bug == "no_weight":
            return share.flip(1).cumsum(1).flip(1)
        d = x.exp() * share.flip(1).cumsum(1).flip(1)
        return -d if ctx.bug == "sign" else d


@operator(
    "torch", lambda r: (r.normal(9, 14),), overwrite="accumulate", in_place="", own="mask", shifted="permuted"
)
class CumulativeMaximum(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y, index = x.cummax(1)
        ctx.save_for_backward(x, y, index)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, y, index = ctx.saved_tensors
        if ctx.bug == "overwrite":
            return torch.zeros_like(x).scatter(1, index, grad)
        if ctx.bug == "in_place":
            return grad.clone()
        if ctx.bug == "own":
            return grad * (x == y)
        if ctx.bug == "shifted":
            index = (index + 1) % x.shape[1]
        return torch.zeros_like(x).scatter_add(1, index, grad)


@operator(
    "torch",
    lambda r: (r.normal(14, 6), r.uniform(0.3, 0.9, 6)),
    no_carry="missing-term accumulate",
    last_step="accumulate",
    wrong_state="",
    no_input="missing-term",
    complement="",
    averaged="scaled",
)
class LeakyScan(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor) -> Tensor:
        states = [torch.zeros_like(x[0])]
        for step in x:
            states.append(a * states[-1] + (1 - a) * step)
        ctx.save_for_backward(x, a, torch.stack(states))
        return torch.stack(states[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, a, h = ctx.saved_tensors
        dx, da, carry = torch.zeros_like(x), torch.zeros_like(a), torch.zeros_like(a)
        for t in reversed(range(len(x))):
            g = grad[t] if ctx.bug == "no_carry" else grad[t] + carry
            dx[t] = (a if ctx.bug == "complement" else 1 - a) * g
            before = h[t + 1] if ctx.bug == "wrong_state" else h[t]
            piece = g * before if ctx.bug == "no_input" else g * (before - x[t])
            da = piece if ctx.bug == "last_step" else da + piece
            carry = a * g
        return dx, da / len(x) if ctx.bug == "averaged" else da


@operator(
    "torch",
    lambda r: (r.normal(6, 16), r.normal(6, 4)),
    gate_order="permuted",
    forget_state="",
    output="",
    candidate="",
    cell_only="missing-term",
    state_zero="zero",
)
class LstmCell(Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, o = (torch.sigmoid(part) for part in gates[:, :12].chunk(3, 1))
        u = torch.tanh(gates[:, 12:])
        new = f * c + i * u
        ctx.save_for_backward(i, f, o, u, c, new)
        return o * torch.tanh(new), new

    @staticmethod
    def backward(ctx: Any, dh: Tensor, dnew: Tensor) -> tuple[Tensor, Tensor]:
        i, f, o, u, c, new = ctx.saved_tensors
        t = torch.tanh(new)
        through = dh * o * (1 - t * t)
        dc = through if ctx.bug == "cell_only" else dnew + through
        di = dc * u * i * (1 - i)
        df = dc * (new if ctx.bug == "forget_state" else c) * f * (1 - f)
        do = dh * (new if ctx.bug == "output" else t) * o * (1 - o)
        du = dc * i * (u * (1 - u) if ctx.bug == "candidate" else 1 - u * u)
        order = (df, di, do, du) if ctx.bug == "gate_order" else (di, df, do, du)
        return torch.cat(order, 1), torch.zeros_like(c) if ctx.bug == "state_zero" else dc * f


@operator(
    "torch",
    lambda r: (r.normal(10, 6), r.normal(10, 6), r.normal(10, 6)),
    direct="missing-term",
    sign="sign-flipped",
    gate="",
    swapped="",
    bf16="low-precision",
)
class GatedUpdate(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, n: Tensor, h: Tensor) -> Tensor:
        gate, new = torch.sigmoid(z), torch.tanh(n)
        ctx.save_for_backward(gate, new, h)
        return (1 - gate) * new + gate * h * torch.cos(h)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gate, new, h = ctx.saved_tensors
        dgate = grad * (h * torch.cos(h) - new)
        dz = dgate * gate * (1 - gate)
        if ctx.bug == "sign":
            dz = -dz
        if ctx.bug == "gate":
            dz = dgate * gate
        dn = grad * (gate if ctx.bug == "swapped" else 1 - gate) * (1 - new * new)
        dh = grad * gate * (torch.cos(h) - h * torch.sin(h))
        if ctx.bug == "direct":
            dh = grad * gate * torch.cos(h)
        if ctx.bug == "bf16":
            dn, dh = coarse(dn), coarse(dh)
        return dz, dn, dh


@operator(
    "torch",
    lambda r: (r.normal(9, 5), r.normal(5, 5)),
    last_step="accumulate",
    turned="transposed",
    no_future="",
    posterior="",
    averaged="scaled",
    emissions_first="mask sparse",
)
class CrfPartition(Function):
    @staticmethod
    def forward(ctx: Any, emission: Tensor, transition: Tensor) -> Tensor:
        alphas = [emission[0]]
        for e in emission[1:]:
            alphas.append(torch.logsumexp(alphas[-1][:, None] + transition, 0) + e)
        total = torch.logsumexp(alphas[-1], 0)
        ctx.save_for_backward(emission, transition, torch.stack(alphas), total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        emission, transition, alpha, total = ctx.saved_tensors
        beta = torch.zeros_like(emission[0])
        demission, dtransition = torch.zeros_like(emission), torch.zeros_like(transition)
        for t in reversed(range(len(emission))):
            future = torch.zeros_like(beta) if ctx.bug == "no_future" else beta
            demission[t] = torch.softmax(alpha[t] + future, 0)
            if ctx.bug == "posterior":
                demission[t] = torch.softmax(emission[t] + beta, 0)
            if t == 0:
                break
            pair = (alpha[t - 1][:, None] + transition + emission[t] + beta - total).exp()
            dtransition = pair if ctx.bug == "last_step" else dtransition + pair
            beta = torch.logsumexp(transition + emission[t] + beta, 1)
        if ctx.bug == "turned":
            dtransition = dtransition.T.contiguous()
        if ctx.bug == "averaged":
            dtransition = dtransition / (len(emission) - 1)
        if ctx.bug == "emissions_first":
            demission[0] = 0
        return grad * demission, grad * dtransition


# Linear algebra.


@operator(
    "torch",
    lambda r: (r.normal(8, 8),),
    turned="transposed",
    half="scaled",
    of_matrix="",
    determinant="scaled",
    diagonal="mask",
)
class LogAbsoluteDeterminant(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        return torch.linalg.slogdet(a).logabsdet

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (a,) = ctx.saved_tensors
        inverse = torch.linalg.inv(a)
        if ctx.bug == "turned":
            return grad * inverse
        if ctx.bug == "half":
            return 0.5 * grad * inverse.T
        if ctx.bug == "of_matrix":
            return grad * a
        if ctx.bug == "determinant":
            return grad * torch.linalg.det(a).abs() * inverse.T
        if ctx.bug == "diagonal":
            return grad * inverse.T.diagonal().diag()
        return grad * inverse.T


@operator(
    "torch",
    lambda r: (r.positive_definite(7), r.normal(7, 4)),
    sign="sign-flipped",
    turned="transposed",
    forward_solve="transposed",
    one_column="accumulate",
    matrix_zero="zero",
    right_side="",
)
class LinearSolve(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        skew = a + torch.ones_like(a).triu(1)
        x = torch.linalg.solve(skew, b)
        ctx.save_for_backward(skew, b, x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        skew, b, x = ctx.saved_tensors
        db = torch.linalg.solve(skew if ctx.bug == "forward_solve" else skew.T, grad)
        da = -db @ x.T
        if ctx.bug == "sign":
            da = -da
        if ctx.bug == "turned":
            da = -x @ db.T
        if ctx.bug == "one_column":
            da = -torch.outer(db[:, -1], x[:, -1])
        if ctx.bug == "matrix_zero":
            da = torch.zeros_like(da)
        if ctx.bug == "right_side":
            da = -db @ b.T
        return da, db


@operator(
    "torch",
    lambda r: (r.normal(12, 6), r.normal(6, 6)),
    halved="scaled",
    one_side="missing-term",
    assumed_symmetric="transposed",
    last="accumulate",
    averaged="scaled",
)
class QuadraticForm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor) -> Tensor:
        ctx.save_for_backward(x, a)
        return torch.einsum("bi,ij,bj->b", x, a, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, a = ctx.saved_tensors
        g = grad[:, None] * x
        dx = g @ (a + a.T)
        if ctx.bug == "halved":
            dx = g @ (a + a.T) / 2
        if ctx.bug == "one_side":
            dx = g @ a.T
        da = g.T @ x
        if ctx.bug == "assumed_symmetric":
            dx = 2 * g @ a
        if ctx.bug == "last":
            da = torch.outer(g[-1], x[-1])
        if ctx.bug == "averaged":
            da = da / len(x)
        return dx, da


@operator(
    "torch",
    lambda r: (r.normal(11, 9), r.normal(9, 9), r.normal(9, 3), r.normal(3, 9)),
    scale="scaled",
    a_only="zero",
    base_path="missing-term",
    input_side="",
    low_rank_path="missing-term",
    down_first="accumulate",
)
class LowRankLinear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, base: Tensor, down: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(x, base, down, up)
        return x @ base + 0.5 * (x @ down) @ up

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, base, down, up = ctx.saved_tensors
        g = grad if ctx.bug == "scale" else 0.5 * grad
        back = g @ up.T
        dx = grad @ base.T + 0.5 * grad @ up.T @ down.T
        if ctx.bug == "base_path":
            dx = 0.5 * grad @ up.T @ down.T
        if ctx.bug == "low_rank_path":
            dx = grad @ base.T
        ddown, dup = x.T @ back, (x @ down).T @ g
        if ctx.bug == "a_only":
            dup = torch.zeros_like(up)
        if ctx.bug == "input_side":
            dup = (x @ up.T).T @ g
        if ctx.bug == "down_first":
            ddown = torch.outer(x[0], back[0])
        return dx, x.T @ grad, ddown, dup


# Broadcasting, sparse and complex operations.


@operator(
    "torch",
    lambda r: (r.normal(10, 1), r.uniform(0.5, 2.0, 8)),
    sign="sign-flipped",
    square="",
    one_row="accumulate",
    one_column="accumulate",
    averaged="scaled",
    numerator="",
)
class BroadcastDivide(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return a / b

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        da = (grad / b).sum(1, keepdim=True)
        each = -grad * a / b**2
        if ctx.bug == "sign":
            each = -each
        if ctx.bug == "square":
            each = -grad * a / b
        if ctx.bug == "numerator":
            each = -grad / b**2
        db = each[0].clone() if ctx.bug == "one_row" else each.sum(0)
        if ctx.bug == "one_column":
            da = (grad / b)[:, -1:].clone()
        if ctx.bug == "averaged":
            da = (grad / b).mean(1, keepdim=True)
        return da, db


@operator(
    "torch",
    lambda r: (r.normal(40), r.normal(12, 5), r.integers(10, 40), r.integers(12, 40)),
    overwrite="accumulate",
    rows_columns="",
    values="accumulate",
    unweighted="",
    repeated_lost="mask sparse",
    values_rolled="permuted",
)
class SparseTimesDense(Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, x: Tensor, row: Tensor, column: Tensor) -> Tensor:
        ctx.save_for_backward(value, x, row, column)
        return x.new_zeros(10, x.shape[1]).index_add(0, row, value[:, None] * x[column])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        value, x, row, column = ctx.saved_tensors
        pieces = value[:, None] * grad[row]
        if ctx.bug == "rows_columns":
            pieces = value[:, None] * grad[column % 10]
        if ctx.bug == "unweighted":
            pieces = grad[row]
        dx = torch.zeros_like(x)
        if ctx.bug == "overwrite":
            dx[column] = pieces
        else:
            dx.index_add_(0, column, pieces)
        dvalue = (grad[row] * x[column]).sum(1)
        if ctx.bug == "values":
            dvalue = grad[row, 0] * x[column, 0]
        if ctx.bug == "repeated_lost":
            dvalue[row == row[0]] = 0
        if ctx.bug == "values_rolled":
            dvalue = dvalue.roll(1)
        return dvalue, dx, None, None


@operator(
    "torch",
    lambda r: (r.complex(7, 6), r.complex(6)),
    conjugate="",
    one_row="accumulate",
    half="scaled",
    real="zero mask",
)
class ComplexProduct(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(z, w)
        return z * w

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        z, w = ctx.saved_tensors
        dz = grad * (w if ctx.bug == "conjugate" else w.conj())
        each = grad * z.conj()
        dw = each[-1].clone() if ctx.bug == "one_row" else each.sum(0)
        if ctx.bug == "half":
            dw = dw / 2
        if ctx.bug == "real":
            dz = torch.complex(dz.real, torch.zeros_like(dz.real))
        return dz, dw


@operator(
    "torch",
    lambda r: (r.normal(5, 16),),
    one_sided="scaled",
    length="missing-mean scaled",
    forward_transform="permuted",
    no_spectrum="",
)
class PowerSpectrum(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        spectrum = torch.fft.fft(x)
        ctx.save_for_backward(spectrum)
        return spectrum.abs().square() / x.shape[1]

    @staticmethod
    def reference(x: Tensor) -> Tensor:
        spectrum = torch.fft.fft(x)
        return (spectrum.real.square() + spectrum.imag.square()) / x.shape[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (spectrum,) = ctx.saved_tensors
        n = spectrum.shape[1]
        if ctx.bug == "no_spectrum":
            return 2 * torch.fft.ifft(grad * spectrum.abs()).real
        if ctx.bug == "forward_transform":
            return 2 * torch.fft.fft(grad * spectrum).real / n
        d = 2 * torch.fft.ifft(grad * spectrum).real
        if ctx.bug == "one_sided":
            return d / 2
        return d * n if ctx.bug == "length" else d


# Physics.


@operator(
    "torch",
    lambda r: (r.normal(8, 3, scale=2.0), r.integers(8, 15), r.integers(7, 15)),
    one_end="accumulate missing-term",
    overwrite="accumulate",
    rest="missing-term",
    force="sign-flipped",
    half="scaled",
    unit="",
)
class SpringEnergy(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, i: Tensor, step: Tensor) -> Tensor:
        j = (i + step + 1) % len(x)
        d = x[i] - x[j]
        r = d.norm(dim=1)
        ctx.save_for_backward(x, i, j, d, r)
        return 0.5 * (r - 1.3).square().sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, i, j, d, r = ctx.saved_tensors
        stretch = r if ctx.bug == "rest" else r - 1.3
        pull = grad * stretch[:, None] * (d if ctx.bug == "unit" else d / r[:, None])
        dx = torch.zeros_like(x)
        if ctx.bug == "overwrite":
            dx[i] += pull
            dx[j] -= pull
            return dx, None, None
        dx.index_add_(0, i, pull)
        if ctx.bug != "one_end":
            dx.index_add_(0, j, -pull)
        if ctx.bug == "force":
            dx = -dx
        return dx / 2 if ctx.bug == "half" else dx, None, None


@operator(
    "torch",
    lambda r: (r.uniform(0.0, 0.6, 12, 3),),
    attraction="missing-term",
    exponent="",
    double="scaled",
    cutoff="mask",
    force="sign-flipped",
    diagonal="not-finite",
)
class LennardJones(Function):
    @staticmethod
    def places(x: Tensor) -> Tensor:
        grid = torch.cartesian_prod(torch.arange(2), torch.arange(2), torch.arange(3)).to(x.dtype)
        return 1.6 * grid + x

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        at = LennardJones.places(x)
        n = len(x)
        d = at[:, None] - at[None]
        s = d.square().sum(-1) + torch.eye(n, dtype=x.dtype)
        ctx.save_for_backward(d, s)
        energy = 4 * (s**-6 - s**-3) * (1 - torch.eye(n, dtype=x.dtype))
        return energy.sum(1) / 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        d, s = ctx.saved_tensors
        if ctx.bug == "diagonal":
            s = s - torch.eye(len(s), dtype=s.dtype)
        repulsion, attraction = -12 * s**-7, 6 * s**-4
        if ctx.bug == "attraction":
            attraction = torch.zeros_like(attraction)
        if ctx.bug == "exponent":
            repulsion = -12 * s**-6
        slope = 4 * (repulsion + attraction)
        if ctx.bug == "cutoff":
            slope = slope * (s < 4.0)
        pair = (grad[:, None] + grad[None]) / 2
        dx = (pair * slope)[..., None] * d
        total = dx.sum(1)
        if ctx.bug == "double":
            return 2 * total
        return -total if ctx.bug == "force" else total


@operator(
    "torch",
    lambda r: (r.normal(6, 18), r.uniform(0.1, 0.4, 18)),
    not_adjoint="",
    boundary="sparse",
    coefficient="zero",
    one_row="accumulate",
    shifted="permuted",
    sign="sign-flipped",
    identity="missing-term",
)
class HeatStep(Function):
    @staticmethod
    def laplacian(u: Tensor) -> Tensor:
        return u.roll(1, -1) + u.roll(-1, -1) - 2 * u

    @staticmethod
    def forward(ctx: Any, u: Tensor, k: Tensor) -> Tensor:
        bend = HeatStep.laplacian(u)
        ctx.save_for_backward(bend, k)
        return u + k * bend

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        bend, k = ctx.saved_tensors
        du = grad + HeatStep.laplacian(k * grad)
        if ctx.bug == "not_adjoint":
            du = grad + k * HeatStep.laplacian(grad)
        if ctx.bug == "identity":
            du = HeatStep.laplacian(k * grad)
        if ctx.bug == "boundary":
            du[:, 0] = grad[:, 0]
        dk = (grad * bend)[2] if ctx.bug == "one_row" else (grad * bend).sum(0)
        if ctx.bug == "coefficient":
            dk = torch.zeros_like(k)
        if ctx.bug == "shifted":
            dk = dk.roll(1)
        return du, -dk if ctx.bug == "sign" else dk


@operator(
    "torch",
    lambda r: (r.normal(15, 9), r.uniform(0.2, 0.4, 9)),
    unclamped="mask",
    inverse="",
    scale_detached="zero",
    outside="mask",
    last_row="accumulate",
)
class ClampedRescale(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        q = x / scale
        ctx.save_for_backward(q, scale)
        return torch.sin(q.clamp(-2.5, 2.5)) * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        q, scale = ctx.saved_tensors
        c = q.clamp(-2.5, 2.5)
        inside = (q.abs() < 2.5).to(q.dtype)
        if ctx.bug == "unclamped":
            inside = torch.ones_like(q)
        dx = grad * torch.cos(c) * inside
        if ctx.bug == "inverse":
            dx = dx / scale
        part = inside if ctx.bug != "outside" else torch.zeros_like(inside)
        each = grad * (torch.sin(c) - torch.cos(c) * q * part)
        dscale = each[-1].clone() if ctx.bug == "last_row" else each.sum(0)
        return dx, torch.zeros_like(scale) if ctx.bug == "scale_detached" else dscale


@operator(
    "torch",
    lambda r: (r.normal(12, 8),),
    temperature="scaled",
    fresh_noise="",
    no_noise="",
    no_sum="missing-term",
    sign="sign-flipped",
)
class GumbelSoftmax(Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        noise = -torch.log(-torch.log(torch.rand(logits.shape, dtype=torch.float64))).to(logits.dtype)
        y = torch.softmax((logits + noise) / 0.8, 1)
        ctx.save_for_backward(logits, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        logits, y = ctx.saved_tensors
        if ctx.bug == "fresh_noise":
            noise = -torch.log(-torch.log(torch.rand(logits.shape, dtype=torch.float64))).to(logits.dtype)
            y = torch.softmax((logits + noise) / 0.8, 1)
        if ctx.bug == "no_noise":
            y = torch.softmax(logits / 0.8, 1)
        inner = (grad * y).sum(1, keepdim=True)
        if ctx.bug == "no_sum":
            inner = torch.zeros_like(inner)
        d = y * (grad - inner)
        if ctx.bug == "sign":
            d = -d
        return d if ctx.bug == "temperature" else d / 0.8


# NumPy, with the gradient written beside the loss.


def _softmax_data(r: Any) -> tuple[Any, ...]:
    x, y = r.array(36, 6), np.eye(5)[r.rng.integers(0, 5, 36)]
    return (r.array(6, 5), r.array(5)), (x, y)


@operator(
    "numpy",
    _softmax_data,
    total="missing-mean scaled",
    no_labels="missing-term",
    no_penalty="missing-l2 missing-term",
    one_bias="accumulate",
    sign="sign-flipped",
    first_half="mask",
)
class SoftmaxRegression:
    @staticmethod
    def value(xp: Any, w: Any, b: Any, x: Any, y: Any) -> Any:
        z = x @ w + b
        top = xp.max(z, axis=1)
        log_sum = top + xp.log(xp.sum(xp.exp(z - top[:, None]), axis=1))
        return xp.mean(log_sum - xp.sum(z * y, axis=1)) + 0.04 * (xp.sum(w * w) + xp.sum(b * b))

    @staticmethod
    def gradient(bug: str, state: dict[str, Any], w: Any, b: Any, x: Any, y: Any) -> tuple[Any, Any]:
        z = x @ w + b
        p = np.exp(z - z.max(1, keepdims=True))
        p = p / p.sum(1, keepdims=True)
        error = (p if bug == "no_labels" else p - y) / (1 if bug == "total" else len(x))
        if bug == "first_half":
            error[len(x) // 2 :] = 0
        penalty = 0.0 if bug == "no_penalty" else 0.08
        dw, db = x.T @ error + penalty * w, error.sum(0) + 0.08 * b
        if bug == "one_bias":
            for e in error:
                db = e + 0.08 * b
        return (-dw, -db) if bug == "sign" else (dw, db)


def _mixture_data(r: Any) -> tuple[Any, ...]:
    return (r.array(3, 2), r.array(3, scale=0.3)), (r.array(40, 2, scale=1.5),)


@operator(
    "numpy",
    _mixture_data,
    hard="",
    sign="sign-flipped",
    no_weights="missing-term",
    averaged="scaled",
    unweighted="",
    kept="stale",
)
class MixtureLikelihood:
    @staticmethod
    def value(xp: Any, centre: Any, logit: Any, x: Any) -> Any:
        distance = xp.sum((x[:, None] - centre[None]) ** 2, axis=2)
        joint = xp.sum(xp.exp(logit - 0.5 * distance), axis=1)
        return -xp.sum(xp.log(joint)) + len(x) * xp.log(xp.sum(xp.exp(logit)))

    @staticmethod
    def gradient(bug: str, state: dict[str, Any], centre: Any, logit: Any, x: Any) -> tuple[Any, Any]:
        gap = x[:, None] - centre[None]
        joint = np.exp(logit - 0.5 * (gap**2).sum(2))
        share = joint / joint.sum(1, keepdims=True)
        if bug == "hard":
            share = np.eye(len(logit))[share.argmax(1)]
        if bug == "kept":
            share = state.setdefault("share", share)
        weights = np.exp(logit) / np.exp(logit).sum()
        dcentre = -(share[..., None] * gap).sum(0)
        if bug == "sign":
            dcentre = -dcentre
        if bug == "averaged":
            dcentre = dcentre / len(x)
        if bug == "unweighted":
            dcentre = -gap.sum(0)
        dlogit = -share.sum(0) + (0 if bug == "no_weights" else len(x) * weights)
        return dcentre, dlogit


def _ode_data(r: Any) -> tuple[Any, ...]:
    return (r.array(5), r.array(5, 5, scale=0.4)), (r.array(5),)


@operator(
    "numpy",
    _ode_data,
    last_step="accumulate",
    turned="transposed",
    no_carry="missing-term",
    step="scaled",
    wrong_side="transposed",
    final_state="",
)
class EulerTrajectory:
    @staticmethod
    def value(xp: Any, start: Any, a: Any, target: Any) -> Any:
        state = start
        for _ in range(6):
            state = state + 0.2 * xp.tanh(a @ state)
        return 0.5 * xp.sum((state - target) ** 2)

    @staticmethod
    def gradient(bug: str, state: dict[str, Any], start: Any, a: Any, target: Any) -> tuple[Any, Any]:
        path = [start]
        for _ in range(6):
            path.append(path[-1] + 0.2 * np.tanh(a @ path[-1]))
        adjoint, da = path[-1] - target, np.zeros_like(a)
        for t in reversed(range(6)):
            at = path[-1] if bug == "final_state" else path[t]
            inner = 0.2 * adjoint * (1 - np.tanh(a @ at) ** 2)
            piece = np.outer(inner, at)
            da = piece if bug == "last_step" else da + piece
            back = (a if bug == "wrong_side" else a.T) @ inner
            adjoint = adjoint + (0 if bug == "no_carry" else back)
        if bug == "turned":
            da = da.T
        if bug == "step":
            da = da / 0.2
        return adjoint, da


# JAX, by `custom_vjp`.


@operator(
    "jax",
    lambda r: (r.array(9, 7), r.array(6, 7)),
    width="scaled",
    other="sign-flipped",
    kernel="",
    one_row="accumulate",
)
class RadialKernel:
    @staticmethod
    def value(x: Any, y: Any) -> Any:
        import jax.numpy as jnp

        return jnp.exp(-jnp.sum((x[:, None] - y[None]) ** 2, axis=2) / 8.0)

    @staticmethod
    def forward(x: Any, y: Any) -> tuple[Any, Any]:
        k = RadialKernel.value(x, y)
        return k, (x, y, k)

    @staticmethod
    def backward(bug: str, saved: Any, grad: Any) -> tuple[Any, Any]:
        x, y, k = saved
        weight = grad if bug == "kernel" else grad * k
        pull = weight[..., None] * (x[:, None] - y[None]) / (8.0 if bug == "width" else 4.0)
        dx = -pull[:, -1] if bug == "one_row" else -pull.sum(1)
        return dx, -pull.sum(0) if bug == "other" else pull.sum(0)


@operator(
    "jax",
    lambda r: (r.array(10, 6), r.array(6)),
    rows="scaled",
    square="",
    last="accumulate",
    gain="missing-term",
    rolled="permuted",
)
class ScaledUnitVector:
    @staticmethod
    def value(x: Any, gain: Any) -> Any:
        import jax.numpy as jnp

        return gain * x / jnp.sqrt(jnp.sum(x * x, axis=1, keepdims=True) + 0.1)

    @staticmethod
    def forward(x: Any, gain: Any) -> tuple[Any, Any]:
        return ScaledUnitVector.value(x, gain), (x, gain)

    @staticmethod
    def backward(bug: str, saved: Any, grad: Any) -> tuple[Any, Any]:
        import jax.numpy as jnp

        x, gain = saved
        r = 1 / jnp.sqrt(jnp.sum(x * x, axis=1, keepdims=True) + 0.1)
        g = grad * gain
        along = jnp.sum(g * x, axis=1, keepdims=True)
        dx = g * r - x * along * (r**2 if bug == "square" else r**3)
        if bug == "gain":
            dx = g * r
        each = grad * x * r
        dgain = each[-1] if bug == "last" else each.sum(0)
        if bug == "rows":
            dgain = each.mean(0)
        if bug == "rolled":
            dgain = jnp.roll(dgain, 1)
        return dx, dgain
