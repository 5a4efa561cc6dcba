"""Held-out: backward passes in PyTorch, wrong as they are wrong when written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import wellposed as wp

from . import names_heldout_operations as ops
from .named_bug import Built, NamedBug
from .names_heldout import F32, F64, Drawn, altered, case, own, pulled_back


def mean_forgotten(
    forward: Callable[..., Tensor],
    count: Callable[..., float],
    *shapes: tuple[int, ...],
    dtype: torch.dtype = F64,
) -> Callable[[Drawn], Built]:
    """The mean over ``count(*inputs)`` is missing in all gradients."""

    def alter(gradients: Any, _: Tensor, inputs: Any) -> None:
        gradients[:] = [d * count(*inputs) for d in gradients]

    return lambda draw: (altered(forward, alter), tuple(draw(*s, dtype=dtype) for s in shapes), None)


def means() -> list[NamedBug]:
    family = "missing-mean"
    either = {"right": ("missing-mean", "scaled")}

    def labels(z: Tensor) -> Tensor:
        return torch.arange(len(z)) % z.shape[1]

    return [
        case(family, "mse over all elements", mean_forgotten(lambda y, t: ((y - t) ** 2).mean(), lambda y, t: y.numel(), (20, 7), (20, 7)), number=140),
        case(family, "mse, divided by the batch alone", mean_forgotten(lambda y, t: ((y - t) ** 2).mean(), lambda y, t: 6, (31, 6), (31, 6)), number=6, **either),
        case(family, "cross entropy, float32", mean_forgotten(lambda z: F.cross_entropy(z, labels(z)), len, (64, 10), dtype=F32), number=64),
        case(family, "binary cross entropy", mean_forgotten(lambda z: F.binary_cross_entropy_with_logits(z, (labels(z[:, None].expand(-1, 2)) + 0.0).to(z.dtype)), len, (300,)), number=300),
        case(family, "hinge of a linear model", mean_forgotten(lambda x, w: torch.relu(1 - x @ w).mean(), lambda x, w: len(x), (90, 13), (13,)), number=90),
        case(family, "huber, 1e4", mean_forgotten(lambda y: F.huber_loss(y, torch.zeros_like(y)), len, (10_000,)), number=10_000),
        case(family, "mean over the time steps of an rnn", mean_forgotten(lambda x, w: ops.rnn(x, w).sum() / len(x), lambda x, w: len(x), (11, 3, 5), (5, 5)), number=11),
        case(family, "global average pool", mean_forgotten(lambda x: x.mean((2, 3)), lambda x: 49, (3, 4, 7, 7)), number=49, **either),
        case(family, "mean over tokens of an embedding", mean_forgotten(lambda t: ops.embedding(t).mean(0), lambda t: 2 * len(t), (17, 6)), number=34, **either),
        case(family, "contrastive, mean over pairs", mean_forgotten(lambda a, b: F.cross_entropy(a @ b.mT, torch.arange(len(a))), lambda a, b: len(a), (24, 8), (24, 8)), number=24),
        case(family, "weights alone", lambda draw: (altered(lambda x, w: ((x @ w) ** 2).mean(), lambda d, g, xs: d.__setitem__(1, d[1] * len(xs[0]))), (draw(45, 6), draw(6, 1)), None), number=45),
        case("mean for sum", "sum of squares, divided by the batch", lambda draw: (altered(lambda x, w: ((x @ w) ** 2).sum(), lambda d, g, xs: d.__setitem__(1, d[1] / len(xs[0]))), (draw(35, 6), draw(6, 2)), None), right=("scaled",), number=1 / 35),
        case("mean for sum", "a sum over the batch in float32", mean_forgotten(lambda x: F.softplus(x).sum(), lambda x: 1 / len(x), (50, 4), dtype=F32), right=("scaled",), number=1 / 50),
    ]  # fmt: skip


class Decayed(torch.nn.Module):
    """Returns its loss, with a penalty on detached weights."""

    def __init__(self, net: torch.nn.Module, penalty: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.penalty = net, penalty

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        fit = ((self.net(x) - t) ** 2).mean()
        weights = [p for p in self.net.parameters() if p.ndim > 1]
        return fit + sum((self.penalty(w.detach()) for w in weights), start=torch.zeros((), dtype=x.dtype))


def decayed(
    penalty: Callable[[Tensor], Tensor], width: int, dtype: torch.dtype = F64
) -> Callable[[Drawn], Built]:
    def make(draw: Drawn) -> Built:
        net = torch.nn.Sequential(torch.nn.Linear(6, width), torch.nn.Tanh(), torch.nn.Linear(width, 2)).to(
            dtype
        )
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(draw(*p.shape) * 0.4)
        return Decayed(net, penalty), (draw(30, 6, dtype=dtype), draw(30, 2, dtype=dtype)), None

    return make


def problem(penalty: float, draw: Drawn) -> wp.Problem:
    net = torch.nn.Sequential(torch.nn.Linear(5, 20), torch.nn.GELU(), torch.nn.Linear(20, 3))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(draw(*p.shape) * 0.4)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        decay = sum(((p.data**2).sum() for p in net.parameters()), start=torch.zeros(()))
        return F.mse_loss(output, target) + penalty * decay

    return wp.Problem(model=net, loss=loss, train=(draw(64, 5, dtype=F32), draw(64, 3, dtype=F32)))


def one_layer(
    decay: float,
    forward: Callable[[Tensor, Tensor], Tensor],
    *shapes: tuple[int, ...],
    dtype: torch.dtype = F64,
) -> Callable[[Drawn], Built]:
    def whole(x: Tensor, w: Tensor) -> Tensor:
        return forward(x, w) + 0.5 * decay * (w**2).sum()

    def alter(gradients: Any, g: Tensor, inputs: Any) -> None:
        gradients[1] = gradients[1] - decay * g * inputs[1]

    return lambda draw: (altered(whole, alter), tuple(draw(*s, dtype=dtype) for s in shapes), None)


def decays() -> list[NamedBug]:
    family = "missing-l2"
    return [
        case(family, "detached weights, 0.01", decayed(lambda w: 0.01 * (w**2).sum(), 10), number=0.02),
        case(family, "detached weights, 0.1 / 2, float32", decayed(lambda w: 0.05 * (w**2).sum(), 20, F32), number=0.1),
        case(family, "detached weights, 1e-4, 1e3", decayed(lambda w: 1e-4 * (w**2).sum(), 150), number=2e-4),
        case(family, "problem, .data, 1e-3", lambda draw: (problem(1e-3, draw), (), None), number=2e-3),
        case(family, "problem, .data, 0.3", lambda draw: (problem(0.3, draw), (), None), number=0.6),
        case(family, "ridge", one_layer(0.2, lambda x, w: ((x @ w) ** 2).mean(), (30, 9), (9,)), number=0.2),
        case(family, "logistic, 1e-2, float32", one_layer(1e-2, lambda x, w: F.softplus(x @ w).mean(), (80, 20), (20,), dtype=F32), number=1e-2),
        case(family, "conv filter", one_layer(0.05, lambda x, w: (F.conv1d(x, w) ** 2).mean(), (4, 2, 30), (3, 2, 5)), number=0.05),
        case("missing-term", "lasso of detached weights", decayed(lambda w: 0.02 * w.abs().sum(), 12)),
        case("missing-term", "sum of weights, detached", decayed(lambda w: 0.3 * w.sum(), 8)),
        case("missing-term", "proximity to another input", lambda draw: (_proximal(0.4), (draw(12, 4), draw(12, 4)), None), right=("missing-term", "missing-l2")),
        case("missing-term", "linear term in an input", lambda draw: (_linear(), (draw(25), draw(25)), None)),
    ]  # fmt: skip


def _proximal(strength: float) -> Any:
    """Its gradient by w lacks ``strength * (w - anchor)``; the one by the anchor is right."""

    def forward(w: Tensor, anchor: Tensor) -> Tensor:
        return F.softplus(w).sum() + 0.5 * strength * ((w - anchor) ** 2).sum()

    def backward(g: Tensor, w: Tensor, anchor: Tensor) -> Any:
        return g * torch.sigmoid(w), g * strength * (anchor - w)

    return own(forward, backward)


def _linear() -> Any:
    def forward(w: Tensor, a: Tensor) -> Tensor:
        return (w**4).sum() + a @ w

    return own(forward, lambda g, w, a: (4 * g * w**3, g * w))


def last_written(index: Tensor) -> Any:
    """The gradient of a table whose rows are looked up: `=` for `+=`."""

    def backward(g: Tensor, table: Tensor) -> Tensor:
        d = torch.zeros_like(table)
        for row, i in enumerate(index.tolist()):
            d[i] = g[row]
        return d

    return own(lambda table: table[index], backward)


def sums() -> list[NamedBug]:
    family = "accumulate"
    repeated = {"right": ("accumulate", "sparse")}

    def bias(g: Tensor, x: Tensor, w: Tensor, b: Tensor) -> Any:
        return g @ w.mT, x.mT @ g, g[-1]

    def weights(g: Tensor, x: Tensor, w: Tensor, b: Tensor) -> Any:
        d = torch.zeros_like(w)
        for row, out in zip(x, g, strict=True):
            d = torch.outer(row, out)
        return g @ w.mT, d, g.sum(0)

    def taps(g: Tensor, x: Tensor, k: Tensor) -> Any:
        dx, _ = pulled_back(F.conv1d, (x, k), g)
        last = g.shape[-1] - 1
        return dx, torch.einsum("bo,bij->oij", g[..., last], x[..., last : last + k.shape[-1]])

    def images(g: Tensor, x: Tensor, k: Tensor) -> Any:
        return pulled_back(F.conv2d, (x, k), g)[0], pulled_back(F.conv2d, (x[-1:], k), g[-1:])[1]

    def gamma(g: Tensor, x: Tensor, gamma: Tensor) -> Any:
        dx, _ = pulled_back(ops.rms_norm, (x, gamma), g)
        return dx, pulled_back(ops.rms_norm, (x[-1:], gamma), g[-1:])[1]

    def steps(g: Tensor, x: Tensor, w: Tensor) -> Any:
        dx, _ = pulled_back(ops.rnn, (x, w), g)
        h = ops.rnn(x[:-1], w)
        return dx, h.mT @ (g * (1 - torch.tanh(x[-1] + h @ w) ** 2))

    hidden = {"right": ("accumulate", "missing-term")}
    return [
        case(family, "dense: bias of the last sample", lambda draw: (own(lambda x, w, b: x @ w + b, bias), (draw(9, 6), draw(6, 4), draw(4)), None)),
        case(family, "dense: weights of the last sample", lambda draw: (own(lambda x, w, b: x @ w + b, weights), (draw(20, 10), draw(10, 5), draw(5)), None)),
        case(family, "dense: weights of the last sample, float32", lambda draw: (own(lambda x, w, b: x @ w + b, weights), (draw(16, 40, dtype=F32), draw(40, 8, dtype=F32), draw(8, dtype=F32)), None)),
        case(family, "conv2d: kernel of the last image", lambda draw: (own(F.conv2d, images), (draw(5, 2, 8, 8), draw(3, 2, 3, 3)), None)),
        case(family, "rms norm: gamma of the last row", lambda draw: (own(ops.rms_norm, gamma), (draw(14, 12), draw(12)), None)),
        case(family, "embedding: rows that come again, all of them", lambda draw: (last_written(torch.arange(24) % 8), (draw(8, 5),), None)),
        case(family, "embedding: two words that come again", lambda draw: (last_written(torch.cat([torch.arange(20), torch.tensor([3, 11])])), (draw(20, 4),), None), **repeated),
        case(family, "conv1d: the last position alone", lambda draw: (own(F.conv1d, taps), (draw(3, 2, 12), draw(4, 2, 3)), None)),
        case("hidden", "rnn: weights of the last step alone", lambda draw: (own(ops.rnn, steps), (draw(5, 6, 7), draw(7, 7)), None), **hidden),
        case("hidden", "tied weights: one use alone", lambda draw: (own(lambda x, w: torch.tanh(x @ w) @ w.mT, _tied), (draw(8, 9), draw(9, 5)), None), **hidden),
    ]  # fmt: skip


def _tied(g: Tensor, x: Tensor, w: Tensor) -> Any:
    y = torch.tanh(x @ w)
    d = (g @ w) * (1 - y**2)
    return d @ w.mT, x.mT @ d


def remembering(forward: Callable[..., Tensor], stale: int) -> Callable[..., Any]:
    """The backward pass takes input number ``stale`` from the first call there ever was, perturbed as an earlier batch differs."""
    kept: list[Tensor] = []

    def backward(g: Tensor, *inputs: Tensor) -> Any:
        if not kept:
            kept.append(inputs[stale])
        used = list(inputs)
        used[stale] = kept[0].to(inputs[stale].dtype)
        return tuple(pulled_back(forward, used, g))

    return own(forward, backward)


def olds() -> list[NamedBug]:
    family = "stale"

    def warmed(
        forward: Callable[..., Tensor], stale: int, *shapes: tuple[int, ...], dtype: torch.dtype = F64
    ) -> Callable[[Drawn], Built]:
        """Called once with another batch before the check."""

        def make(draw: Drawn) -> Built:
            f = remembering(forward, stale)
            inputs = [draw(*s, dtype=dtype) for s in shapes]
            first = [x.clone() for x in inputs]
            first[stale] = draw(*shapes[stale], dtype=dtype)
            f(*[x.requires_grad_() for x in first]).sum().backward()
            return f, tuple(inputs), None

        return make

    def cold(
        forward: Callable[..., Tensor], stale: int, *shapes: tuple[int, ...]
    ) -> Callable[[Drawn], Built]:
        return lambda draw: (remembering(forward, stale), tuple(draw(*s) for s in shapes), None)

    never = {"right": ("stale",)}
    return [
        case(family, "sigmoid: cached on the first call", cold(torch.sigmoid, 0, (40,))),
        case(family, "dense: x cached on the first call", cold(lambda x, w: x @ w, 0, (10, 6), (6, 3))),
        case(family, "dense: w cached on the first call", cold(lambda x, w: torch.tanh(x @ w), 1, (10, 6), (6, 3))),
        case(family, "softmax cached on the first call", cold(lambda z: torch.softmax(z, 1), 0, (12, 7))),
        case(family, "attention: keys cached", cold(ops.attention, 1, (2, 6, 4), (2, 6, 4), (2, 6, 4))),
        case(family, "layer norm: x cached", cold(lambda x, g: F.layer_norm(x, (x.shape[1],), g), 0, (9, 30), (30,))),
        case(family, "rnn: weights cached, 1e3", cold(ops.rnn, 1, (4, 5, 30), (30, 30))),
        case("hidden", "tanh: cached from an earlier batch", warmed(torch.tanh, 0, (60,)), **never),
        case("hidden", "dense: x of an earlier batch", warmed(lambda x, w: x @ w, 0, (12, 6), (6, 4)), **never),
        case("hidden", "a function that runs twice: the inputs of the second call", lambda draw: (_twice(), (draw(9, 5), draw(5, 5)), None), **never),
    ]  # fmt: skip


def _twice() -> Any:
    class Shared(torch.autograd.Function):
        saved: Any = None

        @staticmethod
        def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            Shared.saved = (x.detach().clone(), w.detach().clone())
            return torch.tanh(x @ w)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
            x, w = Shared.saved
            d = g * (1 - torch.tanh(x @ w) ** 2)
            return d @ w.mT, x.mT @ d

    return lambda x, w: Shared.apply(Shared.apply(x, w), w)


def masks() -> list[NamedBug]:
    family = "mask"
    kept = torch.arange(36) % 4 != 1
    short = torch.arange(10) < 7

    def pooled(g: Tensor, x: Tensor) -> Tensor:
        return g.repeat_interleave(2, -1).repeat_interleave(2, -2)

    return [
        case(family, "relu lets all through", lambda draw: (own(torch.relu, lambda g, x: g), (draw(20, 5),), None)),
        case(family, "relu lets all through, float32, 1e4", lambda draw: (own(torch.relu, lambda g, x: g), (draw(100, 100, dtype=F32),), None)),
        case(family, "leaky relu without its slope", lambda draw: (own(lambda x: F.leaky_relu(x, 0.1), lambda g, x: g), (draw(64),), None)),
        case(family, "leaky relu blocks what is negative", lambda draw: (own(lambda x: F.leaky_relu(x, 0.2), lambda g, x: g * (x > 0)), (draw(8, 9),), None)),
        case(family, "clamp lets all through", lambda draw: (own(lambda x: x.clamp(-0.5, 0.5), lambda g, x: g), (draw(30, 4),), None)),
        case(family, "clamp above alone", lambda draw: (own(lambda x: x.clamp(-0.5, 0.5), lambda g, x: g * (x < 0.5)), (draw(80),), None)),
        case(family, "dropout mask forgotten", lambda draw: (own(lambda x: x * kept, lambda g, x: g), (draw(5, 36),), None)),
        case(family, "masked mean over tokens: padding gets a gradient", lambda draw: (own(lambda x: x[:, short].sum(1) / 7, lambda g, x: g[:, None].expand(x.shape) / 7), (draw(4, 10, 3),), None)),
        case(family, "max pool: to all four", lambda draw: (own(lambda x: F.max_pool2d(x, 2), pooled), (draw(2, 2, 8, 8),), None)),
        case(family, "dense: last sample left out", lambda draw: (own(lambda x, w: x @ w, lambda g, x, w: (g @ w.mT, x[:-1].mT @ g[:-1])), (draw(11, 6), draw(6, 4)), None)),
        case(family, "conv: first image left out", lambda draw: (own(F.conv2d, lambda g, x, k: (pulled_back(F.conv2d, (x, k), g)[0], pulled_back(F.conv2d, (x[1:], k), g[1:])[1])), (draw(4, 2, 7, 7), draw(3, 2, 3, 3)), None)),
        case(family, "hinge: margin forgotten", lambda draw: (own(lambda s: torch.relu(1 - s), lambda g, s: -g), (draw(70),), None)),
        case(family, "relu inside a dense layer", lambda draw: (own(lambda x, w, b: torch.relu(x @ w + b), lambda g, x, w, b: (g @ w.mT, x.mT @ g, g.sum(0))), (draw(6, 5), draw(5, 4), draw(4)), None), right=("mask",), vague=()),
        case(family, "hard tanh beyond 2", lambda draw: (own(F.hardtanh, lambda g, x: g * (x.abs() < 2)), (draw(60, 3),), None)),
        case("hidden", "abs: the sign forgotten", lambda draw: (own(torch.abs, lambda g, x: g), (draw(45),), None), right=("mask", "missing-term")),
        case("hidden", "relu upside down", lambda draw: (own(torch.relu, lambda g, x: g * (x < 0)), (draw(45),), None), right=("mask",)),
    ]  # fmt: skip


def cases() -> list[NamedBug]:
    return [*means(), *decays(), *sums(), *olds(), *masks()]
