"""Twelve small losses, each written once for NumPy, PyTorch and JAX, with their gradients by hand and classic bugs in those.

`xp` is the module of the framework. A gradient takes one weight a sample: 1, or 0 for a sample that a bug drops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SAMPLES, WIDTH = 6, 4
DECAY = 0.01

Gradients = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    name: str
    points: dict[str, np.ndarray]
    loss: Callable[..., Any]
    gradient: Callable[..., Gradients]
    square: str = ""
    """A tensor whose gradient can be transposed unnoticed by its shape."""
    decayed: tuple[str, ...] = ()
    sampled: bool = True
    """Whether the loss is a mean over samples."""

    def rows(self, xp: Any, like: Any, *, dropped: bool = False) -> Any:
        weights = np.ones((SAMPLES, 1))
        weights[-1] = 0.0 if dropped else 1.0
        return xp.asarray(weights, dtype=like.dtype)


@dataclass(frozen=True, kw_only=True)
class Bug:
    """What is done to the gradients of a case; a check may name it by one of the `causes`, where None is no name."""

    name: str
    causes: tuple[str | None, ...] = (None,)
    tensor: str = ""
    change: Callable[[Any, Any, Any], Any] = field(default=lambda xp, g, x: g)
    dropped: bool = False

    def bent(self, case: Case, xp: Any, points: Sequence[Any]) -> Gradients:
        """The gradients with this bug; a bug that names no tensor is in all of them."""
        found = case.gradient(xp, case.rows(xp, points[0], dropped=self.dropped), *points)
        return tuple(
            self.change(xp, g, x) if self.tensor in ("", name) else g
            for name, g, x in zip(case.points, found, points, strict=True)
        )


CORRECT = Bug(name="correct")


def bugs(case: Case) -> Iterator[Bug]:
    first = case.square or next(iter(case.points))
    yield Bug(name="sign", causes=("sign-flipped",), tensor=first, change=lambda xp, g, x: -g)
    yield Bug(name="scaled by 1.01", causes=("scaled",), change=lambda xp, g, x: 1.01 * g)
    yield Bug(name="zero", causes=("zero",), tensor=first, change=lambda xp, g, x: 0 * g)
    yield Bug(name="one element", causes=("sparse",), tensor=first, change=_one_element(case, first))
    if case.square:
        yield Bug(name="transposed", causes=("transposed",), tensor=first, change=lambda xp, g, x: g.T)
    for name in case.decayed[:1]:
        yield Bug(
            name="l2 forgotten", causes=("missing-l2",), tensor=name, change=lambda xp, g, x: g - DECAY * x
        )
    if case.sampled:
        yield Bug(name="last sample dropped", causes=(None, "mask"), dropped=True)


def _one_element(case: Case, tensor: str) -> Callable[[Any, Any, Any], Any]:
    """The element of median magnitude half as large again."""
    points = list(case.points.values())
    found = case.gradient(np, case.rows(np, points[0]), *points)[list(case.points).index(tensor)]
    factors = np.ones(found.size)
    factors[np.argsort(np.abs(found).reshape(-1))[found.size // 2]] = 1.5
    return lambda xp, g, x: g * xp.asarray(factors.reshape(g.shape), dtype=g.dtype)


def _drawn(seed: int, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) / shape[-1] ** 0.5 for name, shape in shapes.items()}


def _squares(*weights: Any) -> Any:
    return sum(DECAY / 2 * (w * w).sum() for w in weights)


def _sigmoid(xp: Any, z: Any) -> Any:
    return 1 / (1 + xp.exp(-z))


def _softmax(xp: Any, z: Any) -> Any:
    e = xp.exp(z)
    return e / e.sum(-1)[..., None]


X, W, B = (SAMPLES, WIDTH), (WIDTH, WIDTH), (WIDTH,)
TARGET = np.random.default_rng(99).normal(size=X)
LABELS = np.eye(WIDTH)[np.arange(SAMPLES) % WIDTH]


def _target(xp: Any, like: Any) -> Any:
    return xp.asarray(TARGET, dtype=like.dtype)


def _labels(xp: Any, like: Any) -> Any:
    return xp.asarray(LABELS, dtype=like.dtype)


def _error(xp: Any, outputs: Any) -> Any:
    e = outputs - _target(xp, outputs)
    return (e * e).sum() / (2 * SAMPLES)


def _error_gradient(xp: Any, rows: Any, outputs: Any) -> Any:
    return rows * (outputs - _target(xp, outputs)) / SAMPLES


# The losses, and their gradients by hand


def linear(xp, x, w, b):
    return _error(xp, x @ w + b) + _squares(w)


def linear_gradient(xp, rows, x, w, b):
    d = _error_gradient(xp, rows, x @ w + b)
    return d @ w.T, x.T @ d + DECAY * w, d.sum(0)


def logistic(xp, x, w):
    z = x @ w
    return (xp.log(1 + xp.exp(z)) - _labels(xp, z) * z).sum() / SAMPLES + _squares(w)


def logistic_gradient(xp, rows, x, w):
    z = x @ w
    d = rows * (_sigmoid(xp, z) - _labels(xp, z)) / SAMPLES
    return d @ w.T, x.T @ d + DECAY * w


def cross_entropy(xp, x, w, b):
    z = x @ w + b
    return (xp.log(xp.exp(z).sum(-1)) - (_labels(xp, z) * z).sum(-1)).sum() / SAMPLES


def cross_entropy_gradient(xp, rows, x, w, b):
    z = x @ w + b
    d = rows * (_softmax(xp, z) - _labels(xp, z)) / SAMPLES
    return d @ w.T, x.T @ d, d.sum(0)


def two_layers(xp, x, w1, b1, w2):
    return _error(xp, xp.tanh(x @ w1 + b1) @ w2) + _squares(w1, w2)


def two_layers_gradient(xp, rows, x, w1, b1, w2):
    a = xp.tanh(x @ w1 + b1)
    d = _error_gradient(xp, rows, a @ w2)
    dz = (d @ w2.T) * (1 - a * a)
    return dz @ w1.T, x.T @ dz + DECAY * w1, dz.sum(0), a.T @ d + DECAY * w2


def rectified(xp, x, w1, w2):
    z = x @ w1
    return _error(xp, xp.where(z > 0, z, 0 * z) @ w2)


def rectified_gradient(xp, rows, x, w1, w2):
    z = x @ w1
    d = _error_gradient(xp, rows, xp.where(z > 0, z, 0 * z) @ w2)
    dz = xp.where(z > 0, d @ w2.T, 0 * z)
    return dz @ w1.T, x.T @ dz, xp.where(z > 0, z, 0 * z).T @ d


def _normed(xp, x):
    centred = x - x.mean(-1)[..., None]
    std = xp.sqrt((centred * centred).mean(-1) + 1e-5)[..., None]
    return centred / std, std


def layer_norm(xp, x, gain, shift):
    return _error(xp, _normed(xp, x)[0] * gain + shift)


def layer_norm_gradient(xp, rows, x, gain, shift):
    n, std = _normed(xp, x)
    d = _error_gradient(xp, rows, n * gain + shift)
    dn = d * gain
    dx = (dn - dn.mean(-1)[..., None] - n * (dn * n).mean(-1)[..., None]) / std
    return dx, (d * n).sum(0), d.sum(0)


def attention(xp, x, q, k, v):
    return _error(xp, _softmax(xp, (x @ q) @ (x @ k).T / WIDTH**0.5) @ (x @ v))


def attention_gradient(xp, rows, x, q, k, v):
    p = _softmax(xp, (x @ q) @ (x @ k).T / WIDTH**0.5)
    d = _error_gradient(xp, rows, p @ (x @ v))
    dp, dv = d @ (x @ v).T, p.T @ d
    ds = p * (dp - (dp * p).sum(-1)[..., None]) / WIDTH**0.5
    dq, dk = ds @ (x @ k), ds.T @ (x @ q)
    return dq @ q.T + dk @ k.T + dv @ v.T, x.T @ dq, x.T @ dk, x.T @ dv


def distance(xp, x, a):
    return xp.sqrt((x * x * a * a).sum(-1) + 0.1).sum() / SAMPLES


def distance_gradient(xp, rows, x, a):
    r = rows / xp.sqrt((x * x * a * a).sum(-1) + 0.1)[..., None] / SAMPLES
    return r * x * a * a, (r * x * x * a).sum(0)


def bilinear(xp, x, a, u):
    return xp.tanh(((x @ a) * u).sum(-1)).sum() / SAMPLES


def bilinear_gradient(xp, rows, x, a, u):
    d = rows * (1 - xp.tanh(((x @ a) * u).sum(-1)) ** 2)[..., None] / SAMPLES
    return d * (u @ a.T), x.T @ (d * u), d * (x @ a)


def recurrent(xp, x, w, u):
    return _error(xp, _states(xp, x, w, u)[-1]) + _squares(w)


def _states(xp, x, w, u):
    states = [0 * x[:, 0]]
    for t in range(x.shape[1]):
        states.append(xp.tanh(states[-1] @ w + x[:, t] @ u))
    return states


def recurrent_gradient(xp, rows, x, w, u):
    states = _states(xp, x, w, u)
    d = _error_gradient(xp, rows, states[-1])
    dw, du, dx = DECAY * w, 0 * u, []
    for t in reversed(range(x.shape[1])):
        dz = d * (1 - states[t + 1] ** 2)
        dw, du = dw + states[t].T @ dz, du + x[:, t].T @ dz
        dx.insert(0, dz @ u.T)
        d = dz @ w.T
    return xp.stack(dx, 1), dw, du


def gated(xp, x, a, b):
    return _error(xp, (x @ a) * _sigmoid(xp, x @ b))


def gated_gradient(xp, rows, x, a, b):
    s = _sigmoid(xp, x @ b)
    d = _error_gradient(xp, rows, (x @ a) * s)
    da, db = d * s, d * (x @ a) * s * (1 - s)
    return da @ a.T + db @ b.T, x.T @ da, x.T @ db


def log_determinant(xp, a):
    return xp.linalg.slogdet(a)[1] + _squares(a)


def log_determinant_gradient(xp, rows, a):
    return (xp.linalg.inv(a).T + DECAY * a,)


CASES = (
    Case(
        name="linear",
        points=_drawn(1, x=X, w=W, b=B),
        loss=linear,
        gradient=linear_gradient,
        square="w",
        decayed=("w",),
    ),
    Case(
        name="logistic",
        points=_drawn(2, x=X, w=W),
        loss=logistic,
        gradient=logistic_gradient,
        square="w",
        decayed=("w",),
    ),
    Case(
        name="cross entropy",
        points=_drawn(3, x=X, w=W, b=B),
        loss=cross_entropy,
        gradient=cross_entropy_gradient,
        square="w",
    ),
    Case(
        name="two layers",
        points=_drawn(4, x=X, w1=W, b1=B, w2=W),
        loss=two_layers,
        gradient=two_layers_gradient,
        square="w1",
        decayed=("w1", "w2"),
    ),
    Case(
        name="rectified",
        points=_drawn(5, x=X, w1=W, w2=W),
        loss=rectified,
        gradient=rectified_gradient,
        square="w2",
    ),
    Case(
        name="layer norm",
        points=_drawn(6, x=X, gain=B, shift=B),
        loss=layer_norm,
        gradient=layer_norm_gradient,
    ),
    Case(
        name="attention",
        points=_drawn(7, x=X, q=W, k=W, v=W),
        loss=attention,
        gradient=attention_gradient,
        square="q",
    ),
    Case(name="distance", points=_drawn(8, x=X, a=B), loss=distance, gradient=distance_gradient),
    Case(
        name="bilinear",
        points=_drawn(9, x=X, a=W, u=X),
        loss=bilinear,
        gradient=bilinear_gradient,
        square="a",
    ),
    Case(
        name="recurrent",
        points=_drawn(10, x=(SAMPLES, 3, WIDTH), w=W, u=W),
        loss=recurrent,
        gradient=recurrent_gradient,
        square="u",
        decayed=("w",),
    ),
    Case(
        name="gated",
        points=_drawn(11, x=X, a=W, b=W),
        loss=gated,
        gradient=gated_gradient,
        square="a",
    ),
    Case(
        name="log determinant",
        points=_drawn(12, a=W),
        loss=log_determinant,
        gradient=log_determinant_gradient,
        square="a",
        decayed=("a",),
        sampled=False,
    ),
)
