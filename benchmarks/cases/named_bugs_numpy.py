"""Named bugs in nets that are written by hand in NumPy, as in a course."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .named_bug import Built, NamedBug, bug
from .named_bugs_models import Draw


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def two_layers(wrong: str, *, seed: int = 0, decay: float = 0.0) -> Built:
    """Sigmoid hidden layer, softmax cross entropy, mean over 14 rows, weight decay."""
    rng = np.random.default_rng((Draw.first, seed))
    x, labels = rng.normal(size=(14, 6)), rng.integers(0, 3, 14)
    inputs = (
        rng.normal(size=(6, 6)),
        0.1 * rng.normal(size=6),
        rng.normal(size=(6, 3)),
        0.1 * rng.normal(size=3),
    )

    def probabilities(w1, b1, w2, b2):
        a = _sigmoid(x @ w1 + b1)
        z = a @ w2 + b2
        e = np.exp(z - z.max(1, keepdims=True))
        return a, e / e.sum(1, keepdims=True)

    def loss(w1, b1, w2, b2):
        _, p = probabilities(w1, b1, w2, b2)
        return -np.mean(np.log(p[np.arange(14), labels])) + decay / 2 * (np.sum(w1**2) + np.sum(w2**2))

    def gradient(w1, b1, w2, b2):
        a, p = probabilities(w1, b1, w2, b2)
        d = p - np.eye(3)[labels]
        if wrong == "mask":
            d[-1] = 0
        if wrong != "mean":
            d = d / 14
        slope = {"tanh": 1 - a * a, "no slope": np.ones_like(a)}.get(wrong, a * (1 - a))
        dz = (d @ w2.T) * slope
        dw1 = {"transposed": dz.T @ x, "sign": -(x.T @ dz)}.get(wrong, x.T @ dz)
        dw2 = {"zero": np.zeros_like(w2), "scaled": 2 * (a.T @ d)}.get(wrong, a.T @ d)
        db1 = dz[-1] if wrong == "last row" else dz.mean(0) if wrong == "mean bias" else dz.sum(0)
        kept = 0.0 if wrong == "decay" else decay
        return dw1 + kept * w1, db1, dw2 + kept * w2, d.sum(0)

    return loss, inputs, gradient


def recurrent(wrong: str, *, seed: int = 0) -> Built:
    rng = np.random.default_rng((Draw.first, seed))
    x, y = rng.normal(size=(6, 5, 4)), rng.normal(size=(6, 5))
    inputs = 0.5 * rng.normal(size=(4, 5)), 0.4 * rng.normal(size=(5, 5)), 0.1 * rng.normal(size=5)

    def states(wx, wh, b):
        hs = [np.zeros((6, 5))]
        for t in range(5):
            hs.append(np.tanh(x[:, t] @ wx + hs[-1] @ wh + b))
        return hs

    def loss(wx, wh, b):
        return 0.5 * np.sum((states(wx, wh, b)[-1] - y) ** 2) / 6

    def gradient(wx, wh, b):
        hs = states(wx, wh, b)
        d = (hs[-1] - y) / 6
        dwx, dwh, db = np.zeros_like(wx), np.zeros_like(wh), np.zeros_like(b)
        for t in reversed(range(5)):
            dz = d * (1 - hs[t + 1] ** 2)
            now = x[:, t].T @ dz, hs[t].T @ dz, dz.sum(0)
            overwritten = wrong == "overwritten" or (wrong == "overwritten bias" and t < 4)
            dwx = now[0] if wrong == "overwritten" else dwx + now[0]
            dwh = (now[1] if t else dwh) if wrong == "overwritten" else dwh + now[1]
            db = now[2] if overwritten else db + now[2]
            d = dz @ (wh if wrong == "forward weight" else wh.T)
            if wrong == "truncated" and t == 3:
                break
        return dwx, dwh, db

    return loss, inputs, gradient


def skip_gram(wrong: str, *, seed: int = 0) -> Built:
    rng = np.random.default_rng((Draw.first, seed))
    centre, context = rng.integers(0, 15, 40), rng.integers(0, 15, 40)
    inputs = rng.normal(size=(15, 5)), rng.normal(size=(15, 5))

    def loss(table, other):
        return np.mean(np.log1p(np.exp(-np.sum(table[centre] * other[context], 1))))

    def gradient(table, other):
        d = -_sigmoid(-np.sum(table[centre] * other[context], 1))[:, None] / 40
        gt, go = np.zeros_like(table), np.zeros_like(other)
        if wrong == "fancy":
            gt[centre] += d * other[context]  # NumPy keeps the last of the repeated rows
        else:
            np.add.at(gt, centre, d * other[context])
        np.add.at(go, context, d * table[centre])
        return gt, (go[::-1] if wrong == "reversed" else go)

    return loss, inputs, gradient


def tied_autoencoder(wrong: str, *, seed: int = 0) -> Built:
    rng = np.random.default_rng((Draw.first, seed))
    x = rng.normal(size=(12, 8))

    def loss(w):
        return 0.5 * np.sum((np.tanh(x @ w) @ w.T - x) ** 2) / 12

    def gradient(w):
        h = np.tanh(x @ w)
        d = (h @ w.T - x) / 12
        decoder, encoder = d.T @ h, x.T @ ((d @ w) * (1 - h * h))
        return {"decoder": decoder, "encoder": encoder, "difference": decoder - encoder}[wrong]

    return loss, (0.4 * rng.normal(size=(8, 4)),), gradient


def regression(wrong: str, *, seed: int = 0, ridge: float = 0.0, lasso: float = 0.0) -> Built:
    rng = np.random.default_rng((Draw.first, seed))
    x, y = rng.normal(size=(20, 12)), rng.normal(size=20)

    def loss(w):
        return np.mean((x @ w - y) ** 2) + ridge / 2 * np.sum(w**2) + lasso * np.sum(np.abs(w))

    def gradient(w):
        g = 2 * x.T @ (x @ w - y) / 20
        g = g * {"factor": 0.5, "mean": 20.0}.get(wrong, 1.0)
        if wrong == "half":
            g = g.astype(np.float16).astype(float)
        if wrong == "element":
            g[8] = 0.0
        return g + (0 if wrong == "ridge" else ridge * w) + (0 if wrong == "lasso" else lasso * np.sign(w))

    return loss, (rng.normal(size=12),), gradient


def _two(family: str, wrong: str, seed: int, **known) -> NamedBug:
    decay = known.pop("decay", 0.0)
    return bug(
        family, f"NumPy two layers, {wrong}", lambda: two_layers(wrong, seed=seed, decay=decay), **known
    )


def _plain(
    family: str, build: Callable[..., Built], wrong: str, seed: int, *, options: dict | None = None, **known
):
    name = f"NumPy {build.__name__.replace('_', ' ')}, {wrong}"
    return bug(family, name, lambda: build(wrong, seed=seed, **(options or {})), **known)


HIDDEN = ("missing-term", "accumulate", "mask")

CASES = (
    _two("sign-flipped", "sign", 1),
    _two("scaled", "scaled", 2, number=2.0),
    _two("missing-mean", "mean", 3, number=14.0, vague=("scaled",)),
    _two("mean for sum", "mean bias", 4, right=("scaled",), number=1 / 14),
    _two("zero", "zero", 5),
    _two("transposed", "transposed", 6),
    _two("missing-l2", "decay", 7, decay=0.02, number=0.02),
    _two("hidden", "mask", 8, right=HIDDEN),
    _two("hidden", "last row", 9, right=HIDDEN),
    _two("not nameable", "tanh", 10, right=()),
    _two("not nameable", "no slope", 11, right=()),
    _plain("hidden", recurrent, "overwritten", 12, right=HIDDEN),
    _plain("hidden", recurrent, "overwritten bias", 13, right=HIDDEN),
    _plain("not nameable", recurrent, "forward weight", 14, right=()),
    _plain("hidden", recurrent, "truncated", 15, right=HIDDEN),
    _plain("accumulate", skip_gram, "fancy", 16, right=("accumulate", "sparse")),
    _plain("permuted", skip_gram, "reversed", 17),
    _plain("hidden", tied_autoencoder, "decoder", 18, right=HIDDEN),
    _plain("hidden", tied_autoencoder, "encoder", 19, right=HIDDEN),
    _plain("not nameable", tied_autoencoder, "difference", 20, right=()),
    _plain("scaled", regression, "factor", 21, number=0.5),
    _plain("missing-mean", regression, "mean", 22, number=20.0, vague=("scaled",)),
    _plain("low-precision", regression, "half", 23),
    _plain("sparse", regression, "element", 24, elements=(("w", (8,)),)),
    _plain("missing-l2", regression, "ridge", 25, options={"ridge": 0.3}, number=0.3),
    _plain("missing-term", regression, "lasso", 26, options={"lasso": 0.1}),
)
