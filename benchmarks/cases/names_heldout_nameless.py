"""Held-out: bugs of no family. Any name is wrong, but for those that happen to be true of a case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import names_heldout_operations as ops
from .named_bug import Built, NamedBug
from .names_heldout import F32, F64, Drawn, altered, changed, own, pulled_back
from .names_heldout import case as named
from .names_heldout_operations import Operation


def case(name: str, make: Callable[[Drawn], Built], *vague: str) -> NamedBug:
    return named("not nameable", name, make, right=(), vague=vague)


def unary(
    forward: Callable[[Tensor], Tensor],
    slope: Callable[[Tensor], Tensor],
    *shape: int,
    dtype: torch.dtype = F64,
) -> Callable[[Drawn], Built]:
    return lambda draw: (own(forward, lambda g, x: g * slope(x)), (draw(*shape, dtype=dtype),), None)


def positive(
    forward: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor], *shape: int
) -> Callable[[Drawn], Built]:
    return lambda draw: (own(forward, lambda g, x: g * slope(x)), (draw(*shape).abs() + 0.3,), None)


def slopes() -> list[NamedBug]:
    return [
        case("tanh: its derivative forgotten", unary(torch.tanh, torch.ones_like, 50)),
        case("sigmoid: 1 - y²", unary(torch.sigmoid, lambda x: 1 - torch.sigmoid(x) ** 2, 40, 3)),
        case("sigmoid: x for y", unary(torch.sigmoid, lambda x: x * (1 - x), 30)),
        case("exp: x for y", unary(torch.exp, lambda x: x, 60)),
        case("exp: derivative forgotten, float32", unary(torch.exp, torch.ones_like, 60, dtype=F32)),
        case("gelu with the slope of its tanh approximation", unary(F.gelu, lambda x: torch.sigmoid(1.702 * x) * (1 + 1.702 * x * (1 - torch.sigmoid(1.702 * x))), 100)),
        case("swish without the product rule", unary(F.silu, torch.sigmoid, 70), "missing-term"),
        case("square as cube", unary(lambda x: x**2, lambda x: 3 * x**2, 90)),
        case("log: 1 / (x + 0.1)", positive(torch.log, lambda x: 1 / (x + 0.1), 40)),
        case("sqrt: without its root", positive(torch.sqrt, lambda x: 0.5 / x, 40)),
        case("softplus: tanh", unary(F.softplus, torch.tanh, 1000)),
        case("elu: slope of what is negative is alpha", unary(F.elu, lambda x: torch.ones_like(x), 60), "mask"),
        case("mish with the slope of swish", unary(F.mish, lambda x: torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x))), 80)),
        case("straight through a rounding to tenths", unary(lambda x: torch.tanh(x) + 0.05 * torch.sin(20 * x), lambda x: 1 - torch.tanh(x) ** 2, 40), "missing-term"),
        case("arctan: 1 / (1 + |x|)", unary(torch.atan, lambda x: 1 / (1 + x.abs()), 10)),
    ]  # fmt: skip


def bent(
    operation: Operation, size: int, which: int, change: Callable[[Tensor], Any], dtype: torch.dtype = F64
) -> Callable[[Drawn], Built]:
    return lambda draw: (
        altered(operation.forward, changed(which, change)),
        operation.inputs(draw, size, dtype),
        None,
    )


def row_through(dtype: torch.dtype, row: int) -> Callable[[Tensor], Tensor]:
    def change(d: Tensor) -> Tensor:
        d = d.clone()
        d[row] = d[row].to(dtype).to(d.dtype)
        return d

    return change


def fresh_mask(g: Tensor, x: Tensor) -> Tensor:
    other = torch.rand(x.shape, generator=torch.Generator().manual_seed(11)) < 0.7
    return g * other / 0.7


def dropped(x: Tensor) -> Tensor:
    return x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(3)) < 0.7) / 0.7


def numbers() -> list[NamedBug]:
    low = ("low-precision", "sparse")
    return [
        case("dropout: a fresh mask in the backward pass", lambda draw: (own(dropped, fresh_mask), (draw(20, 10),), None)),
        case("dropout: the same, 1e4, float32", lambda draw: (own(dropped, fresh_mask), (draw(100, 100, dtype=F32),), None)),
        case("dropout: a fresh mask on 12 numbers", lambda draw: (own(dropped, fresh_mask), (draw(12),), None), "sparse"),
        case("dropout by the global generator, drawn again", _redrawn),
        case("one row in bfloat16", bent(ops.DENSE, 20, 1, row_through(torch.bfloat16, 3)), *low),
        case("one row in float32", bent(ops.DENSE, 20, 1, row_through(F32, 5)), *low),
        case("one row in float32, of 1e4", bent(ops.EMBEDDING, 1600, 0, row_through(F32, 33)), *low),
        case("one row in float16", bent(ops.GELU, 40, 0, row_through(torch.float16, 0)), *low),
        case("clipped at 1", bent(ops.DENSE, 20, 1, lambda d: d.clamp(-1, 1))),
        case("clipped at a third, float32", bent(ops.CROSS_ENTROPY, 60, 0, lambda d: d.clamp(-0.3, 0.3), F32), "sparse"),
        case("clipped by rows", bent(ops.LAYER_NORM, 20, 0, lambda d: d / d.norm(dim=1, keepdim=True))),
        case("signs alone", bent(ops.CONV, 3, 1, torch.sign)),
        case("absolute values", bent(ops.RNN_STEP, 5, 2, torch.abs), "mask"),
        case("squared", bent(ops.SOLVE, 5, 1, lambda d: d**2)),
        case("rounded to eighths", bent(ops.COSINE, 12, 0, lambda d: torch.round(d * 8) / 8), "low-precision"),
        case("noise of 1 % on it", bent(ops.ATTENTION, 10, 2, lambda d: d * (1 + 0.01 * torch.randn(d.shape, generator=torch.Generator().manual_seed(1), dtype=F64)))),
        case("noise of 10 % of its norm", bent(ops.BILINEAR, 6, 1, lambda d: d + 0.1 * d.norm() / d.numel() ** 0.5 * torch.randn(d.shape, generator=torch.Generator().manual_seed(2), dtype=F64))),
        case("rows weighted by their number", bent(ops.GELU, 15, 0, lambda d: d * torch.arange(1, 16)[:, None])),
        case("rows less their mean", bent(ops.DENSE, 12, 1, lambda d: d - d.mean(1, keepdim=True)), "missing-term"),
        case("smoothed along time", bent(ops.CONV1D, 30, 0, lambda d: (d + d.roll(1, -1)) / 2)),
        case("symmetric part", bent(ops.SOLVE, 6, 0, lambda d: (d + d.mT) / 2), "missing-term"),
        case("momentum of 0.9 from another gradient", bent(ops.SOFTPLUS, 80, 0, lambda d: 0.9 * d.roll(7) + 0.1 * d)),
    ]  # fmt: skip


def _redrawn(draw: Drawn) -> Built:
    class Dropout(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            return x * (torch.rand(x.shape) < 0.6) / 0.6

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            return g * (torch.rand(g.shape) < 0.6) / 0.6

    return lambda x: torch.tanh(Dropout.apply(x)), (draw(15, 8),), None


def layers() -> list[NamedBug]:
    def softmax_diagonal(g: Tensor, z: Tensor) -> Tensor:
        p = torch.softmax(z, 1)
        return g * p * (1 - p)

    def softmax_wrong_axis(g: Tensor, z: Tensor) -> Tensor:
        p = torch.softmax(z, 1)
        return p * (g - (g * p).sum(0, keepdim=True))

    def norm_no_mean(g: Tensor, x: Tensor) -> Tensor:
        return g / torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5)

    def norm_unbiased(g: Tensor, x: Tensor) -> Tensor:
        rstd = 1 / torch.sqrt(x.var(1, keepdim=True) + 1e-5)
        y = (x - x.mean(1, keepdim=True)) * rstd
        return rstd * (g - g.mean(1, keepdim=True) - y * (g * y).mean(1, keepdim=True))

    def norm_other_eps(g: Tensor, x: Tensor) -> Tensor:
        rstd = 1 / torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-3)
        y = (x - x.mean(1, keepdim=True)) * rstd
        return rstd * (g - g.mean(1, keepdim=True) - y * (g * y).mean(1, keepdim=True))

    def batch_axes(g: Tensor, x: Tensor) -> Tensor:
        rstd = 1 / torch.sqrt(x.var(0, unbiased=False) + 1e-5)
        y = (x - x.mean(0)) * rstd
        return rstd * (g - g.mean(1, keepdim=True) - y * (g * y).mean(1, keepdim=True))

    def wrong_saved(g: Tensor, x: Tensor, w: Tensor) -> Any:
        y = torch.tanh(x @ w)
        d = g * (1 - (x @ w) ** 2)
        return (g * (1 - y**2)) @ w.mT, x.mT @ d

    def attention_weights(g: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Any:
        dq, dk, _ = pulled_back(ops.attention, (q, k, v), g)
        return dq, dk, (q @ k.mT / q.shape[-1] ** 0.5).mT @ g

    def attention_softmax(g: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Any:
        p = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1)
        ds = p * (g @ v.mT) / q.shape[-1] ** 0.5
        return ds @ k, ds.mT @ q, p.mT @ g

    def bias_axis(g: Tensor, x: Tensor, b: Tensor) -> Any:
        return g, g.sum(1)

    def cosine_short(g: Tensor, a: Tensor, b: Tensor) -> Any:
        return g[:, None] * b / (a.norm(dim=1) * b.norm(dim=1))[:, None], pulled_back(ops.cosine, (a, b), g)[
            1
        ]

    def solved(a: Tensor, b: Tensor) -> Tensor:
        return torch.linalg.solve(a + 4 * torch.eye(len(a), dtype=a.dtype), b)

    def solve_wrong(g: Tensor, a: Tensor, b: Tensor) -> Any:
        matrix = a + 4 * torch.eye(len(a), dtype=a.dtype)
        z = torch.linalg.solve(matrix, g)
        return -z @ solved(a, b).mT, z

    def huber_wide(g: Tensor, x: Tensor) -> Tensor:
        return g * x.clamp(-2, 2)

    def focal(z: Tensor) -> Tensor:
        return (1 - torch.sigmoid(z)) ** 2 * F.softplus(-z)

    def focal_as_constant(g: Tensor, z: Tensor) -> Tensor:
        return -g * (1 - torch.sigmoid(z)) ** 3

    def gru(h: Tensor, z: Tensor) -> Tensor:
        return torch.sigmoid(z) * h + (1 - torch.sigmoid(z)) * torch.tanh(h)

    def gru_swapped(g: Tensor, h: Tensor, z: Tensor) -> Any:
        s, t = torch.sigmoid(z), torch.tanh(h)
        return g * (1 - s + s * (1 - t**2)), g * (h - t) * s * (1 - s)

    term = ("missing-term",)
    return [
        case("softmax: the diagonal of its Jacobian", lambda draw: (own(lambda z: torch.softmax(z, 1), softmax_diagonal), (draw(9, 6),), None), *term),
        case("softmax: sum over the wrong axis", lambda draw: (own(lambda z: torch.softmax(z, 1), softmax_wrong_axis), (draw(8, 8),), None)),
        case("layer norm: 1/σ alone", lambda draw: (own(lambda x: F.layer_norm(x, (x.shape[1],)), norm_no_mean), (draw(10, 12),), None), *term),
        case("layer norm: unbiased variance", lambda draw: (own(lambda x: F.layer_norm(x, (x.shape[1],)), norm_unbiased), (draw(10, 12),), None)),
        case("layer norm: another eps", lambda draw: (own(lambda x: F.layer_norm(x, (x.shape[1],)), norm_other_eps), (draw(30, 16),), None)),
        case("batch norm: means over the features", lambda draw: (own(lambda x: F.batch_norm(x, None, None, training=True), batch_axes), (draw(9, 9),), None)),
        case("dense: tanh' of what goes in", lambda draw: (own(lambda x, w: torch.tanh(x @ w), wrong_saved), (draw(11, 6), draw(6, 5)), None)),
        case("attention: scores for weights", lambda draw: (own(ops.attention, attention_weights), (draw(2, 7, 6), draw(2, 7, 6), draw(2, 7, 6)), None)),
        case("attention: softmax without its sum", lambda draw: (own(ops.attention, attention_softmax), (draw(2, 9, 6), draw(2, 9, 6), draw(2, 9, 6)), None), *term),
        case("bias: sum over the features", lambda draw: (own(lambda x, b: x + b, bias_axis), (draw(8, 8), draw(8)), None)),
        case("cosine: norm held constant", lambda draw: (own(ops.cosine, cosine_short), (draw(9, 11), draw(9, 11)), None), *term),
        case("solve: without the transpose", lambda draw: (own(solved, solve_wrong), (draw(6, 6), draw(6, 2)), None)),
        case("huber: another delta", lambda draw: (own(lambda x: F.huber_loss(x, torch.zeros_like(x), reduction="none"), huber_wide), (draw(60),), None), "mask"),
        case("focal loss: its weight held constant", lambda draw: (own(focal, focal_as_constant), (draw(45),), None), *term),
        case("gru: update gate the other way round", lambda draw: (own(gru, gru_swapped), (draw(7, 9), draw(7, 9)), None)),
        case("concat: gradients of a and b swapped", lambda draw: (own(lambda a, b: torch.cat([a, b], 1) ** 2, lambda g, a, b: (2 * g[:, 5:] * b, 2 * g[:, :5] * a)), (draw(6, 5), draw(6, 5)), None), "permuted"),
        case("outer: a for b", lambda draw: (own(torch.outer, lambda g, a, b: (g @ a, g.mT @ a)), (draw(14), draw(14)), None)),
        case("bilinear: x for y", lambda draw: (altered(ops.BILINEAR.forward, lambda d, g, xs: d.__setitem__(1, torch.einsum("bi,bk,bj->ijk", xs[0], g, xs[0]))), ops.BILINEAR.inputs(draw, 6), None)),
        case("nearest for bilinear", lambda draw: (own(ops.INTERPOLATE.forward, lambda g, x: pulled_back(lambda x: F.interpolate(x, scale_factor=2), (x,), g)[0]), ops.INTERPOLATE.inputs(draw, 10), None)),
        case("average for maximum", lambda draw: (own(ops.MAX_POOL.forward, lambda g, x: pulled_back(lambda x: F.avg_pool2d(x, 2), (x,), g)[0]), ops.MAX_POOL.inputs(draw, 10), None), "mask"),
    ]  # fmt: skip


def cases() -> list[NamedBug]:
    return [*slopes(), *numbers(), *layers()]
