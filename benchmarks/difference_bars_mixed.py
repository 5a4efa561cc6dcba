"""Functions that compute in few digits somewhere inside and in float64 around it: staircases beside smooth terms.

Over a step shorter than a stair the coarse term stands still, and what is left of f is smooth and free of noise. The true
derivative is that of the same formula without the rounding; but of a table with straight lines between its entries, which is a function
like any other, it is the slope of the line at x. `sharp_families` are those that look alike and are none: what breaks beside x once, or
bends often.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .difference_cases import (
    EXACT,
    Case,
    Family,
    Rng,
    log_sum_exp,
    net_gradient,
    net_loss,
    normals,
    of_arrays,
    of_one_number,
    signed,
    softmax,
)


def to_bfloat16(v: Any) -> Any:
    return torch.tensor(v, dtype=torch.float64).to(torch.bfloat16).to(torch.float64).numpy()[()]


ROUNDINGS: dict[str, Callable[[Any], Any]] = {
    "float32": lambda v: np.float64(np.float32(v)),
    "float16": lambda v: np.float64(np.float16(v)),
    "bfloat16": to_bfloat16,
    "3 decimals": lambda v: np.round(v, 3),
    "16 bits": lambda v: np.round(v * 32768) / 32768,
}


def kept(m: Any, kind: str, value: Any) -> Any:
    """The value as this kind of arithmetic holds it; itself in the exact formula."""
    return value if m is EXACT else ROUNDINGS[kind](value)


def anywhere(rng: Rng) -> float:
    return rng.normal() * 10 ** rng.uniform(-2, 1)


def near_one(rng: Rng) -> float:
    return rng.choice((-1, 1)) * rng.uniform(0.3, 3)


def rounded_product(m: Any, x: Any, kind: str) -> Any:
    return kept(m, kind, m.cos(x) * x) + x * x


def rounded_factor(m: Any, x: Any, kind: str) -> Any:
    return kept(m, kind, m.cos(x)) * x + x * x


def rounded_beside_large(m: Any, x: Any, kind: str, c: Any) -> Any:
    return kept(m, kind, c + m.cos(x) * x) - c + x * x


def rounded_argument(m: Any, x: Any, kind: str, a: Any, b: Any) -> Any:
    return m.sin(kept(m, kind, a * x)) + b * m.exp(x / 8)


def small_share(m: Any, x: Any, kind: str, share: Any) -> Any:
    return share * kept(m, kind, m.sin(x)) + m.exp(x / 4)


def rounded_exponent(m: Any, x: Any, kind: str, a: Any) -> Any:
    return x * m.exp(kept(m, kind, a * m.tanh(x)))


def steps_of_a_flow(m: Any, x: Any, kind: str, a: Any) -> Any:
    """Eight Euler steps of a pendulum's speed, each rounded, and a penalty that is not."""
    y = x
    for _ in range(8):
        y = kept(m, kind, y + m.sin(a * y) / 8)
    return y * y + x * x * x / 10


def of_a_kind(name: str, formula: Any, parameters: Any, place: Any, kinds: tuple[str, ...]) -> list[Family]:
    def with_kind(kind: str) -> Callable[..., Any]:
        return lambda m, x, *p: formula(m, x, kind, *p)

    return [of_one_number(f"{name}, {kind} inside", with_kind(kind), parameters, place) for kind in kinds]


ALL = tuple(ROUNDINGS)
FINE = ("float32", "16 bits")
COARSE = ("float16", "bfloat16", "3 decimals")
"""Where x is small their stairs are longer than any step that is tried."""
NONE = normals(0)


def matmul_in_float32(x: Any, w: Any) -> Any:
    if x.dtype == np.float64:
        return np.sum(np.tanh(w.astype(np.float32) @ x.astype(np.float32)).astype(np.float64) * x) + np.sum(
            x**2
        )
    return np.sum(np.tanh(w @ x) * x) + np.sum(x**2)


def matmul_gradient(x: Any, w: Any) -> Any:
    t = np.tanh(w @ x)
    return t + w.T @ ((1 - t**2) * x) + 2 * x


def in_float32(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given: float(f(*(np.float32(v) for v in given)))


def one_element_rounded(kind: str) -> Family:
    def f(x: Any, c: Any) -> Any:
        return np.sum(x[1:] ** 2 * np.cos(x[1:])) + c * ROUNDINGS[kind](np.sin(x[0])) + x[0] ** 2

    def gradient(x: Any, c: Any) -> Any:
        g = 2 * x * np.cos(x) - x * x * np.sin(x)
        g[0] = c * np.cos(x[0]) + 2 * x[0]
        return g

    return of_arrays(
        f"one of 12 elements, {kind} inside", f, gradient, lambda r: (r.normal(size=12), r.normal())
    )


def half_of_the_elements_rounded(kind: str) -> Family:
    def f(x: Any) -> Any:
        return np.sum(np.exp(x[::2])) + np.sum(np.float64(ROUNDINGS[kind](np.sin(x[1::2])))) + np.sum(x**2)

    def gradient(x: Any) -> Any:
        g = 2 * x
        g[::2] += np.exp(x[::2])
        g[1::2] += np.cos(x[1::2])
        return g

    return of_arrays(f"half of the elements, {kind} inside", f, gradient, lambda r: (r.normal(size=20),))


def torch_layer(kind: torch.dtype) -> Family:
    """A torch layer in fewer digits, and a float64 loss with weight decay."""

    def draw(rng: Rng, _: Any) -> Case:
        w = torch.tensor(rng.normal(size=(6, 10)) / 3).to(kind)
        x = torch.tensor(rng.normal(size=10))

        def exact(t: Any) -> Any:
            return torch.tanh(w.double() @ t).square().sum() + 0.1 * t.square().sum()

        def f(t: Any) -> Any:
            return torch.tanh(w @ t.to(kind)).double().square().sum() + 0.1 * t.square().sum()

        return Case(f=f, x=x, truth=torch.func.grad(exact)(x).numpy())

    return Family(name=f"layer in torch's {str(kind)[6:]} inside", draw=draw)


def of_a_table(name: str, *, count: int, nearest: bool) -> Family:
    """A table of the sine over one period, read at the nearest entry or along straight lines, beside a smooth term."""
    width = 2 * np.pi / count
    table = np.sin(width * np.arange(count))

    def at_nearest(x: float) -> float:
        return float(table[int(np.rint(x / width)) % count]) + x * x / 4

    def along_lines(x: float) -> float:
        left = int(np.floor(x / width))
        share = x / width - left
        return float((1 - share) * table[left % count] + share * table[(left + 1) % count]) + x * x / 4

    def draw(rng: Rng, _: Any) -> Case:
        x = float(rng.uniform(-3, 3))
        left = int(np.floor(x / width))
        slope = np.cos(x) if nearest else (table[(left + 1) % count] - table[left % count]) / width
        return Case(f=at_nearest if nearest else along_lines, x=x, truth=np.array(slope + x / 2))

    return Family(name=name, draw=draw)


def mixed_families() -> tuple[Family, ...]:
    return (
        *of_a_kind("product", rounded_product, NONE, anywhere, FINE),
        *of_a_kind("product", rounded_product, NONE, near_one, COARSE),
        *of_a_kind("factor", rounded_factor, NONE, anywhere, FINE),
        *of_a_kind("factor", rounded_factor, NONE, near_one, COARSE),
        *of_a_kind("beside a large term", rounded_beside_large, lambda r: (10 ** r.uniform(0, 3),), near_one, FINE),
        *of_a_kind("argument", rounded_argument, normals(2), near_one, ALL),
        *of_a_kind("small share", small_share, lambda r: (10 ** r.uniform(-6, -1),), near_one, FINE),
        *of_a_kind("exponent", rounded_exponent, normals(1), near_one, ALL),
        *of_a_kind("flow", steps_of_a_flow, normals(1), near_one, ALL),
        of_arrays("matmul in float32 inside", matmul_in_float32, matmul_gradient, lambda r: (r.normal(size=20), np.float32(r.normal(size=(20, 20))))),
        of_arrays("log-sum-exp in float32 inside", lambda x: in_float32(log_sum_exp)(x) + np.sum(x**2) if x.dtype == np.float64 else log_sum_exp(x) + np.sum(x**2),
                  lambda x: softmax(x) + 2 * x, lambda r: (2 * r.normal(size=10),)),
        of_arrays("net in float32 inside, weight decay", lambda x, a, y: in_float32(net_loss)(x, a, y) + 0.01 * np.sum(x**2),
                  lambda x, a, y: net_gradient(x, a, y) + 0.02 * x,
                  lambda r: (r.normal(size=21) * 0.7, np.float32(r.normal(size=(16, 3))), np.float32(r.normal(size=16)))),
        *map(one_element_rounded, ("float32", "float16", "3 decimals")),
        *map(half_of_the_elements_rounded, ("float32", "float16")),
        torch_layer(torch.float32),
        torch_layer(torch.bfloat16),
        of_a_table("table of 3,000, nearest entry", count=3000, nearest=True),
    )  # fmt: skip


def rounded_sum(m: Any, x: Any, kind: str) -> Any:
    """A power series whose running sum is rounded, over a line that is not."""
    total, term = x * 0, 1 + x * 0
    for k in range(1, 8):
        total = kept(m, kind, total + term)
        term = term * x / k
    return total + 3 * x


def rounded_twice(m: Any, x: Any, kind: str, a: Any) -> Any:
    return kept(m, kind, m.sin(x)) * kept(m, kind, m.exp(a * x / 3)) + m.log1p(x * x)


def rounded_denominator(m: Any, x: Any, kind: str, a: Any) -> Any:
    return (x + a) / kept(m, kind, 1 + x * x) - x / 2


def attention_in_float32(x: Any, keys: Any) -> Any:
    score = keys @ x
    e = np.exp(score - score.max())
    return (e / e.sum()) @ keys @ x


def attention_gradient(x: Any, keys: Any) -> Any:
    """Of sum_i p_i s_i with s = K x and p = softmax(s)."""
    s = keys @ x
    p = softmax(s)
    return keys.T @ (p * (1 + s - p @ s))


def norm_in_float16(x: Any) -> Any:
    return np.sqrt(np.sum(x * x))


def held_out_families() -> tuple[Family, ...]:
    """Written after the method and its constants were settled, and not looked into before they were reported."""
    return (
        *of_a_kind("running sum", rounded_sum, NONE, near_one, ALL),
        *of_a_kind("two factors", rounded_twice, normals(1), near_one, ALL),
        *of_a_kind("denominator", rounded_denominator, normals(1), near_one, ALL),
        of_arrays("attention in float32 inside", lambda x, k: in_float32(attention_in_float32)(x, k) + np.sum(np.cos(x)) if x.dtype == np.float64 else attention_in_float32(x, k) + np.sum(np.cos(x)),
                  lambda x, k: attention_gradient(x, k) - np.sin(x), lambda r: (r.normal(size=12), np.float32(r.normal(size=(6, 12))))),
        of_arrays("norm in float16 inside", lambda x: float(norm_in_float16(np.float16(x))) + np.sum(x**3) / 3 if x.dtype == np.float64 else norm_in_float16(x) + np.sum(x**3) / 3,
                  lambda x: x / np.sqrt(np.sum(x * x)) + x * x, lambda r: (r.normal(size=8),)),
        torch_layer(torch.float16),
        of_a_table("table of 500, nearest entry", count=500, nearest=True),
    )  # fmt: skip


def broken_at(
    name: str, formula: Callable[..., Any], slope: Callable[..., Any], near: tuple[float, float]
) -> Family:
    """A smooth function beside whose point x = 1 + d something happens at 1."""

    def draw(rng: Rng, _: Any) -> Case:
        d = float(signed(*near)(rng))
        size = float(rng.normal())
        x = 1 + d
        return Case(f=lambda t: formula(t, size), x=x, truth=np.array(slope(x, size)))

    return Family(name=name, draw=draw)


def relu_net(x: Any, w: Any, v: Any) -> Any:
    return v @ np.maximum(w @ x, 0) + np.sum(x**2)


def relu_net_gradient(x: Any, w: Any, v: Any) -> Any:
    return w.T @ (v * (w @ x > 0)) + 2 * x


def sharp_families() -> tuple[Family, ...]:
    return (
        broken_at("jump beside x", lambda t, s: float(s * (t > 1) + np.sin(t)), lambda x, s: np.cos(x), (-6, -1)),
        broken_at("tiny jump beside x", lambda t, s: float(1e-9 * s * (t > 1) + np.sin(t)), lambda x, s: np.cos(x), (-6, -1)),
        broken_at("kink beside x", lambda t, s: float(s * abs(t - 1) + np.sin(t)), lambda x, s: np.cos(x) + s * np.sign(x - 1), (-8, -1)),
        broken_at("bent beside x", lambda t, s: float(s * max(t - 1, 0) ** 2 + np.sin(t)), lambda x, s: np.cos(x) + 2 * s * max(x - 1, 0), (-6, -1)),
        broken_at("bump beside x", lambda t, s: float(s * np.exp(-((1e3 * (t - 1)) ** 2)) + np.sin(t)),
                  lambda x, s: np.cos(x) - 2e6 * s * (x - 1) * np.exp(-((1e3 * (x - 1)) ** 2)), (-4, -1)),
        broken_at("tiny wave", lambda t, s: float(np.exp(t) + 1e-6 * np.sin(1e3 * s * t)), lambda x, s: np.exp(x) + 1e-3 * s * np.cos(1e3 * s * x), (-2, 0)),
        of_one_number("polynomial of few terms", lambda m, x, a, b: a * x**5 + b * x**3 + x, normals(2), signed(-2, 1)),
        of_one_number("wave on a line", lambda m, x, s, a: m.sin(s * x) / 100 + a * x, lambda r: (10 ** r.uniform(1, 3), r.normal()), lambda r: r.normal()),
        of_arrays("ReLU net", relu_net, relu_net_gradient, lambda r: (r.normal(size=12), r.normal(size=(300, 12)), r.normal(size=300))),
        of_a_table("table of 300, straight lines", count=300, nearest=False),
        of_a_table("table of 30,000, straight lines", count=30_000, nearest=False),
    )  # fmt: skip
