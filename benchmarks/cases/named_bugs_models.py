"""The models of the named bugs: small, in float64, of the kinds that people write backward passes for."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .named_bug import Model


class Draw:
    """Numbers of one seed, one after the other."""

    first = 0
    """Added to every seed: another number draws the whole set anew."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(self.first + seed)

    def __call__(self, *shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(*shape, generator=self._generator, dtype=torch.float64)

    def labels(self, classes: int, *shape: int) -> Tensor:
        return torch.randint(0, classes, shape, generator=self._generator)


def conv_net(seed: int = 0, *, pool: bool = False) -> Model:
    draw = Draw(seed)
    x, y = draw(9, 2, 8, 8), draw.labels(3, 9)

    def loss(kernel, bias, second, head):
        h = F.conv2d(x.to(kernel.dtype), kernel, bias, padding=1)
        h = F.max_pool2d(h.relu(), 2) if pool else F.avg_pool2d(h.tanh(), 2)
        h = F.conv2d(h, second).tanh().flatten(1)
        return F.cross_entropy(h @ head, y)

    return Model(
        loss=loss,
        batch=9,
        parameters={
            "kernel": draw(4, 2, 3, 3, scale=0.3),
            "bias": draw(4, scale=0.1),
            "second": draw(4, 4, 3, 3, scale=0.2),
            "head": draw(16, 3, scale=0.3),
        },
    )


def attention(seed: int = 0, *, width: int = 8) -> Model:
    draw = Draw(seed)
    x, y = draw(5, 7, width), draw(5, 7, width)

    def loss(query, key, value, out):
        h = x.to(query.dtype)
        weights = ((h @ query) @ (h @ key).transpose(1, 2) / math.sqrt(width)).softmax(-1)
        return ((h + weights @ (h @ value) @ out - y) ** 2).mean()

    return Model(
        loss=loss,
        batch=5,
        parameters={n: draw(width, width, scale=width**-0.5) for n in ("query", "key", "value", "out")},
    )


def layer_norm_net(seed: int = 0) -> Model:
    draw = Draw(seed)
    x, y = draw(12, 10), draw.labels(4, 12)

    def loss(first, gain, shift, second):
        h = F.gelu(F.layer_norm(x.to(first.dtype) @ first, (16,), gain, shift))
        return F.cross_entropy(h @ second, y)

    return Model(
        loss=loss,
        batch=12,
        parameters={
            "first": draw(10, 16, scale=0.3),
            "gain": 1 + draw(16, scale=0.1),
            "shift": draw(16, scale=0.1),
            "second": draw(16, 4, scale=0.3),
        },
    )


def embedding_net(seed: int = 0) -> Model:
    draw = Draw(seed)
    tokens, y = draw.labels(20, 6, 5), draw.labels(4, 6)

    def loss(table, head, bias):
        return F.cross_entropy(table[tokens].mean(1).tanh() @ head + bias, y)

    return Model(
        loss=loss,
        batch=6,
        parameters={"table": draw(20, 6), "head": draw(6, 4, scale=0.5), "bias": draw(4, scale=0.1)},
    )


def recurrent(seed: int = 0) -> Model:
    draw = Draw(seed)
    x, y = draw(8, 6, 5), draw(8, 3)

    def loss(inward, around, bias, head):
        h = torch.zeros(8, 7, dtype=inward.dtype)
        for t in range(6):
            h = torch.tanh(x[:, t].to(inward.dtype) @ inward + h @ around + bias)
        return ((h @ head - y) ** 2).mean()

    return Model(
        loss=loss,
        batch=8,
        parameters={
            "inward": draw(5, 7, scale=0.4),
            "around": draw(7, 7, scale=0.35),
            "bias": draw(7, scale=0.1),
            "head": draw(7, 3, scale=0.4),
        },
    )


def gated(seed: int = 0) -> Model:
    draw = Draw(seed)
    x, y = draw(7, 5, 4), draw(7, 6)

    def loss(gates, recur, bias):
        h = torch.zeros(7, 6, dtype=gates.dtype)
        for t in range(5):
            a, b = x[:, t].to(gates.dtype) @ gates + bias, h @ recur
            reset, update = (a[:, :12] + b[:, :12]).sigmoid().chunk(2, 1)
            new = (a[:, 12:] + reset * b[:, 12:]).tanh()
            h = (1 - update) * new + update * h
        return ((h - y) ** 2).sum() / 7

    return Model(
        loss=loss,
        batch=7,
        parameters={
            "gates": draw(4, 18, scale=0.4),
            "recur": draw(6, 18, scale=0.4),
            "bias": draw(18, scale=0.1),
        },
    )


def swish_net(seed: int = 0, *, total: bool = False) -> Model:
    """Mean squared error over all outputs, or its sum."""
    draw = Draw(seed)
    x, y = draw(11, 6), draw(11, 5)

    def loss(first, bias, second):
        squares = (F.silu(x.to(first.dtype) @ first + bias) @ second - y) ** 2
        return squares.sum() if total else squares.mean()

    return Model(
        loss=loss,
        batch=11,
        parameters={
            "first": draw(6, 6, scale=0.5),
            "bias": draw(6, scale=0.2),
            "second": draw(6, 5, scale=0.5),
        },
    )


def logistic(seed: int = 0, *, decay: float = 0.0, total: bool = False) -> Model:
    draw = Draw(seed)
    x, y = draw(30, 9), draw.labels(2, 30).double()

    def loss(weight, bias):
        z = x.to(weight.dtype) @ weight + bias
        fit = F.binary_cross_entropy_with_logits(z, y.to(z.dtype), reduction="sum" if total else "mean")
        return fit + decay / 2 * weight.square().sum()

    return Model(loss=loss, batch=30, parameters={"weight": draw(9), "bias": draw(1)})


def factorisation(seed: int = 0) -> Model:
    draw = Draw(seed)
    ratings = draw(10, 12)

    def loss(users, items):
        return ((users @ items.t() - ratings) ** 2).sum()

    return Model(loss=loss, batch=10, parameters={"users": draw(10, 3), "items": draw(12, 3)})


def poisson(seed: int = 0, *, total: bool = False) -> Model:
    draw = Draw(seed)
    x, counts = draw(25, 7, scale=0.5), draw.labels(6, 25).double()

    def loss(weight, bias):
        z = x.to(weight.dtype) @ weight + bias
        rows = z.exp() - counts.to(z.dtype) * z
        return rows.sum() if total else rows.mean()

    return Model(loss=loss, batch=25, parameters={"weight": draw(7, scale=0.4), "bias": draw(1)})


def residual(seed: int = 0, *, decay: float = 0.0, lasso: float = 0.0, total: bool = False) -> Model:
    draw = Draw(seed)
    x, y = draw(13, 8), draw(13, 8)

    def loss(one, two, three):
        h = x.to(one.dtype)
        for w in (one, two, three):
            h = h + F.softplus(h @ w) - 0.5
        fit = F.huber_loss(h, y.to(h.dtype), reduction="sum" if total else "mean")
        weights = (one, two, three)
        return fit + sum(decay / 2 * w.square().sum() + lasso * w.abs().sum() for w in weights)

    return Model(loss=loss, batch=13, parameters={n: draw(8, 8, scale=0.3) for n in ("one", "two", "three")})


def separable(seed: int = 0) -> Model:
    draw = Draw(seed)
    x, y = draw(6, 5, 12), draw(6, 5, 12)

    def loss(depth, point, bias):
        h = F.conv1d(x.to(depth.dtype), depth, padding=1, groups=5)
        return ((F.conv1d(h.tanh(), point, bias) - y) ** 2).mean()

    return Model(
        loss=loss,
        batch=6,
        parameters={"depth": draw(5, 1, 3, scale=0.6), "point": draw(5, 5, 1, scale=0.4), "bias": draw(5)},
    )
