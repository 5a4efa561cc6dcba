"""What torch's tests of `torch.nn.init` and `calculate_gain` claim: gains, fans, variances of draws, orthogonality.

Gains are held against expectations under a standard normal, integrated to 30 digits: forward 1 / sqrt(E f²), backward
1 / sqrt(E f'²), slope sqrt(E f'²) / sqrt(E f²) being how the ratio of the two grows. torch's table has round numbers for tanh
(5/3), selu (3/4) and sigmoid (1) in their stead; where its number is exact, for linear, relu and leaky relu, they are one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import torch
from mpmath import mp
from torch import nn

import wellposed as wp
from benchmarks.peer_claims.claims import (
    Claim,
    Grid,
    Outcome,
    all_of,
    close,
    contradicted,
    equal,
    held,
    refusal,
)

ALPHA, LAMBDA = mp.mpf("1.6732632423543772848170429916717"), mp.mpf("1.0507009873554804934193349852946")


def gelu_tanh(x: Any) -> Any:
    return x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3)))


ACTIVATIONS: dict[str, tuple[Callable[[Any], Any], tuple[float, ...]]] = {
    "linear": (lambda x: x, (0,)),
    "identity": (lambda x: x, (0,)),
    "relu": (lambda x: x if x > 0 else mp.mpf(0), (0,)),
    "leaky_relu": (lambda x: x if x > 0 else x / 100, (0,)),
    "relu6": (lambda x: min(max(x, mp.mpf(0)), mp.mpf(6)), (0, 6)),
    "elu": (lambda x: x if x > 0 else mp.expm1(x), (0,)),
    "celu": (lambda x: x if x > 0 else mp.expm1(x), (0,)),
    "selu": (lambda x: LAMBDA * (x if x > 0 else ALPHA * mp.expm1(x)), (0,)),
    "gelu": (lambda x: x * mp.ncdf(x), (0,)),
    "gelu_tanh": (gelu_tanh, (0,)),
    "silu": (lambda x: x / (1 + mp.exp(-x)), (0,)),
    "swish": (lambda x: x / (1 + mp.exp(-x)), (0,)),
    "mish": (lambda x: x * mp.tanh(mp.log1p(mp.exp(x))), (0,)),
    "tanh": (mp.tanh, (0,)),
    "sigmoid": (lambda x: 1 / (1 + mp.exp(-x)), (0,)),
    "logsigmoid": (lambda x: -mp.log1p(mp.exp(-x)), (0,)),
    "softplus": (lambda x: mp.log1p(mp.exp(x)), (0,)),
    "softsign": (lambda x: x / (1 + abs(x)), (0,)),
    "tanhshrink": (lambda x: x - mp.tanh(x), (0,)),
    "hardtanh": (lambda x: min(max(x, mp.mpf(-1)), mp.mpf(1)), (-1, 0, 1)),
    "hardsigmoid": (lambda x: min(max(x / 6 + mp.mpf(1) / 2, mp.mpf(0)), mp.mpf(1)), (-3, 0, 3)),
    "hardswish": (lambda x: x * min(max(x / 6 + mp.mpf(1) / 2, mp.mpf(0)), mp.mpf(1)), (-3, 0, 3)),
    "sin": (mp.sin, (0,)),
}


@functools.cache
def mean_squares(name: str) -> tuple[Any, Any]:
    """E f² and E f'² under a standard normal."""
    f, kinks = ACTIVATIONS[name]
    return integrate(f, kinks)


def integrate(f: Callable[[Any], Any], kinks: tuple[float, ...]) -> tuple[Any, Any]:
    with mpmath.workdps(30):
        ends = sorted({-12, -6, -3, 3, 6, 12, *kinks})
        h = mp.mpf("1e-12")
        square = mp.quad(lambda x: f(x) ** 2 * mp.npdf(x), ends)
        slope = mp.quad(lambda x: ((f(x + h) - f(x - h)) / (2 * h)) ** 2 * mp.npdf(x), ends)
        return square, slope


def forward_gain(name: str) -> Outcome:
    return close(wp.gain(name).forward, float(1 / mp.sqrt(mean_squares(name)[0])), rtol=1e-8, what="forward")


def backward_gain(name: str) -> Outcome:
    return close(
        wp.gain(name).backward, float(1 / mp.sqrt(mean_squares(name)[1])), rtol=1e-8, what="backward"
    )


def by_module(name: str) -> Outcome:
    """A module of torch has the gain of its name."""
    modules = {
        "relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(), "elu": nn.ELU(), "selu": nn.SELU(), "gelu": nn.GELU(), "silu": nn.SiLU(),
        "mish": nn.Mish(), "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "softplus": nn.Softplus(), "softsign": nn.Softsign(),
        "hardtanh": nn.Hardtanh(), "relu6": nn.ReLU6(), "celu": nn.CELU(), "hardswish": nn.Hardswish(), "tanhshrink": nn.Tanhshrink(),
    }  # fmt: skip
    return close(
        wp.gain(modules[name]).forward, float(1 / mp.sqrt(mean_squares(name)[0])), rtol=1e-7, what="forward"
    )


def leaky(slope: float, form: str) -> Outcome:
    """sqrt(2 / (1 + slope²)) for any slope."""
    f: Any = nn.LeakyReLU(slope) if form == "module" else (lambda x: np.where(x > 0, x, slope * x))
    want = math.sqrt(2 / (1 + slope**2))
    g = wp.gain(f)
    return all_of(
        close(g.forward, want, rtol=1e-8, what="forward"), close(g.backward, want, rtol=1e-8, what="backward")
    )


def table(name: str, want: float) -> Outcome:
    """torch's own number, where it is the exact one; and the layers, whose gain it calls 1."""
    return close(wp.gain(name).forward, want, rtol=1e-9, what="forward")


def layer(kind: str, bias: bool = True) -> tuple[Any, int, int]:
    """A layer, its fan in and its fan out."""
    if kind.startswith("linear"):
        i, o = (int(v) for v in kind.split()[1].split("x"))
        return nn.Linear(i, o, bias=bias), i, o
    name, sizes = kind.split()
    i, o, k = (int(v) for v in sizes.split("x"))
    dims = int(name[4])
    make = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
    return make(i, o, k), i * k**dims, o * k**dims


def drawn(kind: str, scheme: str, activation: str, seed: int) -> Outcome:
    """Mean 0 and the variance of the scheme, within five standard errors; nothing beyond the draw's own bounds."""
    first, fan_in, fan_out = layer(kind)
    model = nn.Sequential(
        first,
        *([nn.ReLU()] if activation == "relu" else [nn.Tanh()] if activation == "tanh" else []),
        *tail(kind),
    )
    state = torch.get_rng_state()
    done = wp.initialize(model, scheme=scheme, seed=seed)
    if not torch.equal(state, torch.get_rng_state()):
        return contradicted("the global random state was moved")
    w = first.weight.detach().double().ravel()
    gain = {"relu": math.sqrt(2.0), "": 1.0, "tanh": float(1 / mp.sqrt(mean_squares("tanh")[0]))}[activation]
    want = {
        "he": gain / math.sqrt(fan_in),
        "lecun": 1 / math.sqrt(fan_in),
        "glorot": math.sqrt(2 / (fan_in + fan_out)),
    }[scheme]
    n = len(w)
    return all_of(
        equal(done.kept, True, what="kept"),
        close(float(w.mean()), 0.0, atol=5 * want / math.sqrt(n), what="mean"),
        close(float(w.std()), want, rtol=5 / math.sqrt(2 * n), what="std"),
        held() if first.bias is None else equal(float(first.bias.detach().abs().max()), 0.0, what="bias"),
    )


def tail(kind: str) -> list[Any]:
    if kind.startswith("linear"):
        return [nn.Linear(int(kind.split("x")[1]), 2)]
    dims, out = int(kind[4]), int(kind.split()[1].split("x")[1])
    return [{1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims](out, 2, 1)]


def orthogonal(kind: str, seed: int) -> Outcome:
    """Rows or columns of the flattened weight are orthogonal, and all of one length."""
    first, _, _ = layer(kind)
    wp.initialize(nn.Sequential(first, *tail(kind)), scheme="orthogonal", seed=seed)
    w = first.weight.detach().double().flatten(1)
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    size = float(gram.diagonal().mean())
    return close((gram / size).numpy(), np.eye(len(gram)), atol=1e-5, what="Gram matrix")


def same_seed(scheme: str) -> Outcome:
    weights = []
    for seed in (1, 1, 2):
        first = nn.Linear(6, 8)
        wp.initialize(nn.Sequential(first, nn.ReLU(), nn.Linear(8, 3)), scheme=scheme, seed=seed)
        weights.append(first.weight)
    return all_of(
        equal(torch.equal(weights[0], weights[1]), True, what="same seed, same weights"),
        equal(torch.equal(weights[0], weights[2]), False, what="another seed, the same weights"),
    )


def unknown(name: Any) -> Outcome:
    return refusal(lambda: wp.gain(name))


def claims() -> list[Claim]:
    grid = Grid("torch.nn.init")
    for name in ACTIVATIONS:
        grid.add("initialization", f"gain of {name} forward", forward_gain, name)
        grid.add("initialization", f"gain of {name} backward", backward_gain, name)
    for name in (
        "relu",
        "leaky_relu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "mish",
        "tanh",
        "sigmoid",
        "softplus",
        "softsign",
        "hardtanh",
        "relu6",
        "celu",
        "hardswish",
        "tanhshrink",
    ):
        grid.add("initialization", f"gain of the module {name}", by_module, name)
    for slope in (0.0, 0.01, 0.1, 0.2, 0.5, 1.0, 2.0, 10.0):
        for form in ("module", "function"):
            grid.add("initialization", f"gain of leaky relu {slope} as a {form}", leaky, slope, form)
    for name, want in (("linear", 1.0), ("relu", math.sqrt(2)), ("leaky_relu", math.sqrt(2 / 1.0001))):
        grid.add("initialization", f"torch's table: {name}", table, name, want)
    for name in ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"):
        grid.add("initialization", f"torch's table: {name}", table, name, 1.0)
    for name in ("qz", "herring", "", 3):
        grid.add("initialization", f"no activation: {name!r}", unknown, name)
    for kind in (
        "linear 40x60",
        "linear 200x50",
        "linear 30x30",
        "conv1d 8x24x5",
        "conv2d 6x20x3",
        "conv2d 16x8x5",
        "conv3d 4x6x3",
    ):
        for scheme in ("he", "glorot", "lecun"):
            grid.add("initialization", f"{scheme} {kind} before relu", drawn, kind, scheme, "relu", 0)
            grid.add("initialization", f"{scheme} {kind} seed 7", drawn, kind, scheme, "relu", 7)
        for seed in (0, 5):
            grid.add("initialization", f"orthogonal {kind} seed {seed}", orthogonal, kind, seed)
    for scheme in ("he", "glorot", "lecun", "orthogonal", "auto"):
        grid.add("initialization", f"{scheme}: seeds", same_seed, scheme)
    grid.add(
        "initialization",
        "an unknown scheme",
        lambda: refusal(lambda: wp.initialize(nn.Linear(2, 2), scheme="herring")),
    )
    grid.add("initialization", "no module", lambda: refusal(lambda: wp.initialize(torch.ones(3))))
    grid.add("initialization", "no parameters", lambda: refusal(lambda: wp.initialize(nn.ReLU())))
    return grid.claims
