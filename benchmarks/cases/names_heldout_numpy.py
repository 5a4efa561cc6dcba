"""Held-out: networks and losses written by hand in NumPy, as in a course."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .named_bug import Built, NamedBug
from .names_heldout import Drawn, case

Array = Any


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@dataclass(kw_only=True)
class Net:
    """Two layers and a softmax, with weight decay. Each field of `bugs` is a slip of its writer."""

    x: Array
    labels: Array
    decay: float = 0.0
    bugs: frozenset[str] = frozenset()
    kept: dict[str, Array] = field(default_factory=dict)

    def forward(self, w1: Array, b1: Array, w2: Array, b2: Array) -> tuple[Array, Array]:
        h = np.tanh(self.x @ w1 + b1)
        return h, softmax(h @ w2 + b2)

    def loss(self, w1: Array, b1: Array, w2: Array, b2: Array) -> float:
        _, p = self.forward(w1, b1, w2, b2)
        fit = -np.log(p[np.arange(len(p)), self.labels]).mean()
        return fit + 0.5 * self.decay * (np.sum(w1**2) + np.sum(w2**2))

    def gradient(self, w1: Array, b1: Array, w2: Array, b2: Array) -> tuple[Array, ...]:
        has, m = self.bugs.__contains__, len(self.x)
        h, p = self.forward(w1, b1, w2, b2)
        if has("stale hidden"):
            h = self.kept.setdefault("h", h)
        d2 = p.copy()
        d2[np.arange(m), self.labels] -= 1
        d2 = -d2 if has("target - y") else d2
        d2 = d2 if has("no mean") else d2 / m
        gw2 = h.T @ d2 + (0 if has("no decay") or has("no decay of w2") else self.decay * w2)
        gb2 = d2[-1] * 1.0 if has("bias of the last") else d2.sum(0)
        back = w2 if has("w2 not transposed") else w2.T
        slope = {"no tanh'": 1.0, "sigmoid'": h * (1 - h), "1 - h": 1 - h}
        used = next((s for name, s in slope.items() if has(name)), 1 - h**2)
        d1 = (d2 @ back) * used
        d1 = -d1 if has("d1 negated") else d1
        gw1 = self.x.T @ d1 + (0 if has("no decay") else self.decay * w1)
        gb1 = d1.sum(0)
        if has("w1 transposed"):
            gw1 = (d1.T @ self.x).reshape(w1.shape)
        if has("w1 twice"):
            gw1 = 2 * gw1
        if has("b1 mean"):
            gb1 = d1.mean(0)
        if has("b1 zero"):
            gb1 = np.zeros_like(b1)
        if has("float16"):
            gw1, gw2 = (g.astype(np.float16).astype(np.float64) for g in (gw1, gw2))
        if has("adds up"):
            gw1 = self.kept["w1"] = self.kept.get("w1", 0) + gw1
        if has("clipped"):
            gw1 = np.clip(gw1, -0.01, 0.01)
        if has("last batch row"):
            gw1 = self.x[:-1].T @ d1[:-1] + self.decay * w1
        return gw1, gb1, gw2, gb2


def net(
    *bugs: str, hidden: int = 10, features: int = 8, decay: float = 0.0, classes: int = 4, rows: int = 30
) -> Callable[[Drawn], Built]:
    def make(draw: Drawn) -> Built:
        n = Net(
            x=draw.array(rows, features),
            labels=draw.below(classes, rows).numpy(),
            decay=decay,
            bugs=frozenset(bugs),
        )
        parameters = (
            draw.array(features, hidden) * 0.5,
            draw.array(hidden) * 0.1,
            draw.array(hidden, classes) * 0.5,
            draw.array(classes) * 0.1,
        )
        return n.loss, parameters, n.gradient

    return make  # fmt: skip


def networks() -> list[NamedBug]:
    no_name: tuple[str, ...] = ()
    return [
        case("sign-flipped", "net: target - y", net("target - y")),
        case("sign-flipped", "net: delta of the first layer", net("d1 negated", hidden=30)),
        case("sign-flipped", "net: target - y, 1e4", net("target - y", hidden=500, features=15)),
        case("scaled", "net: first weights twice", net("w1 twice"), number=2),
        case("mean for sum", "net: mean over the samples for the bias", net("b1 mean"), right=("scaled",), number=1 / 30),
        case("missing-mean", "net: no 1/m", net("no mean"), number=30),
        case("missing-mean", "net: no 1/m, 1e4", net("no mean", hidden=400, features=20, rows=55), number=55),
        case("missing-mean", "net: no 1/m, with decay", net("no mean", decay=0.01), right=("missing-mean", "scaled"), number=30),
        case("missing-l2", "net: 0.1", net("no decay", decay=0.1), number=0.1),
        case("missing-l2", "net: 1e-3 of 1e3", net("no decay", decay=1e-3, hidden=60, features=12), number=1e-3),
        case("missing-l2", "net: second layer alone", net("no decay of w2", decay=0.02), number=0.02),
        case("zero", "net: first bias", net("b1 zero")),
        case("transposed", "net: x.T @ d and its transpose, reshaped", net("w1 transposed"), right=("transposed", "permuted")),
        case("transposed", "net: the same, square", net("w1 transposed", hidden=9, features=9)),
        case("low-precision", "net: weights by way of float16", net("float16")),
        case("accumulate", "net: gradient not cleared between calls", net("adds up"), right=("accumulate", "stale")),
        case("stale", "net: hidden layer of the first call", net("stale hidden")),
        case("hidden", "net: bias of the last sample", net("bias of the last"), right=("accumulate", "missing-term")),
        case("hidden", "net: all samples but the last", net("last batch row"), right=("mask", "accumulate", "missing-term")),
        case("not nameable", "net: tanh' forgotten", net("no tanh'"), right=no_name),
        case("not nameable", "net: sigmoid' for tanh'", net("sigmoid'"), right=no_name),
        case("not nameable", "net: 1 - h for 1 - h²", net("1 - h", hidden=80), right=no_name),
        case("not nameable", "net: w2 for its transpose", net("w2 not transposed", hidden=6, classes=6), right=no_name),
        case("not nameable", "net: many elements clipped", net("clipped"), right=no_name),
    ]  # fmt: skip


def regression(bug: str, rows: int = 40, features: int = 6, decay: float = 0.0) -> Callable[[Drawn], Built]:
    """Logistic regression, with the mean over its samples."""

    def make(draw: Drawn) -> Built:
        x, t, w = draw.array(rows, features), draw.below(2, rows).numpy() * 1.0, draw.array(features)

        def loss(w: Array) -> float:
            z = x @ w
            return np.mean(np.logaddexp(0, z) - t * z) + decay / 2 * w @ w

        def gradient(w: Array) -> Array:
            p = 1 / (1 + np.exp(-x @ w))
            delta = {
                "t - p": t - p,
                "raw": x @ w - t,
                "p(1-p)": (p - t) * p * (1 - p),
                "rounded": np.round(p) - t,
            }
            d = delta.get(bug, p - t)
            g = x.T @ d if bug == "sum" else x.T @ d / rows
            if bug == "reversed":
                return g[::-1].copy()
            if bug == "first":
                g[0] = 0  # the column of ones, which needs no decay
                return g + decay * w
            return g if bug == "no decay" else g + (2 * decay if bug == "decay twice" else decay) * w

        return loss, (w,), gradient

    return make


def matrix_factors(bug: str) -> Callable[[Drawn], Built]:
    """Of ratings, some of them unknown; u and v are users x k and films x k."""

    def make(draw: Drawn) -> Built:
        u, v, r = draw.array(18, 4), draw.array(13, 4), draw.array(18, 13)
        known = draw.array(18, 13) > -0.3

        def loss(u: Array, v: Array) -> float:
            return 0.5 * np.sum(known * (u @ v.T - r) ** 2)

        def gradient(u: Array, v: Array) -> tuple[Array, Array]:
            e = u @ v.T - r
            e = e if bug == "all ratings" else e * known
            gu, gv = e @ v, e.T @ u
            if bug == "last rating":
                gu = np.zeros_like(u)
                for i, j in np.argwhere(known):
                    gu[i] = e[i, j] * v[j]
            return (gu, -gv) if bug == "v negated" else (gu, gu[:13]) if bug == "copied" else (gu, gv)

        return loss, (u, v), gradient

    return make


def others() -> list[NamedBug]:
    nameless: tuple[str, ...] = ()

    def recurrence(bug: str) -> Callable[[Drawn], Built]:
        def make(draw: Drawn) -> Built:
            x, w = draw.array(7, 5), draw.array(5, 5) * 0.5

            def run(w: Array) -> list[Array]:
                h = [np.zeros(5)]
                for step in x:
                    h.append(np.tanh(step + w @ h[-1]))
                return h

            def gradient(w: Array) -> Array:
                h, d, g = run(w), 0.0, np.zeros_like(w)
                for t in range(7, 0, -1):
                    back = d + 2 * h[t]
                    local = back * (1 - h[t] ** 2)
                    piece = np.outer(h[t - 1], local) if bug == "transposed" else np.outer(local, h[t - 1])
                    g = piece if bug == "last step" else g + piece
                    d = 0.0 if bug == "truncated" else (w if bug == "no transpose" else w.T) @ local
                return -g if bug == "negated" else g

            return (lambda w: sum(float(h @ h) for h in run(w))), (w,), gradient

        return make

    return [
        case("sign-flipped", "logistic: t - p", regression("t - p")),
        case("missing-mean", "logistic: no 1/m", regression("sum", rows=73), number=73),
        case("permuted", "logistic: features reversed", regression("reversed", features=10)),
        case("missing-l2", "logistic: 0.5", regression("no decay", decay=0.5), number=0.5),
        case("missing-l2", "logistic: 1e-4", regression("no decay", decay=1e-4, features=40, rows=90), number=1e-4),
        case("missing-l2", "logistic: decay twice", regression("decay twice", decay=0.1), right=("missing-l2", "missing-term"), number=0.1),
        case("sparse", "logistic: the intercept never moves", regression("first", features=30), right=("sparse", "mask")),
        case("not nameable", "logistic: z - t for p - t", regression("raw"), right=nameless),
        case("not nameable", "logistic: an extra p(1 - p)", regression("p(1-p)"), right=nameless),
        case("not nameable", "logistic: rounded probabilities", regression("rounded"), right=nameless),
        case("sign-flipped", "factors: v", matrix_factors("v negated")),
        case("hidden", "factors: unknown ratings too", matrix_factors("all ratings"), right=("mask", "missing-term")),
        case("hidden", "factors: the last rating of each user", matrix_factors("last rating"), right=("accumulate",)),
        case("not nameable", "factors: the gradient of u for that of v", matrix_factors("copied"), right=nameless),
        case("transposed", "recurrence: outer product the other way", recurrence("transposed")),
        case("sign-flipped", "recurrence", recurrence("negated")),
        case("hidden", "recurrence: first step alone", recurrence("last step"), right=("accumulate", "zero")),
        case("not nameable", "recurrence: w for w.T", recurrence("no transpose"), right=nameless),
        case("hidden", "recurrence: nothing through time", recurrence("truncated"), right=("missing-term", "accumulate")),
    ]  # fmt: skip


def cases() -> list[NamedBug]:
    return [*networks(), *others()]
