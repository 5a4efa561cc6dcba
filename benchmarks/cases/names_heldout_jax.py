"""Held-out: ``custom_vjp`` rules in JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .named_bug import Built, NamedBug
from .names_heldout import Drawn, case


def ruled(
    forward: Callable[..., Any], backward: Callable[..., Any], *shapes: tuple[int, ...]
) -> Callable[[Drawn], Built]:
    """A function with its own rule ``backward(g, *inputs)``."""

    def make(draw: Drawn) -> Built:
        f = jax.custom_vjp(forward)
        f.defvjp(lambda *x: (forward(*x), x), lambda x, g: backward(g, *x))
        return f, tuple(jnp.asarray(draw.array(*s)) for s in shapes), None

    return make


def pulled(
    forward: Callable[..., Any], change: Callable[..., Any], *shapes: tuple[int, ...]
) -> Callable[[Drawn], Built]:
    """The right gradients, given to ``change(*gradients)``."""
    return ruled(forward, lambda g, *x: tuple(change(*jax.vjp(forward, *x)[1](g))), *shapes)


def swish(x: Any) -> Any:
    return x * jax.nn.sigmoid(x)


def norm(x: Any, g: Any) -> Any:
    return g * (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)


def dense(x: Any, w: Any) -> Any:
    return jnp.tanh(x @ w)


def cases() -> list[NamedBug]:
    nameless: tuple[str, ...] = ()
    first = (6, 5), (5, 4)
    return [
        case("sign-flipped", "jax: swish", pulled(swish, lambda d: (-d,), (40,))),
        case("sign-flipped", "jax: gamma of a norm", pulled(norm, lambda d, g: (d, -g), (8, 16), (16,))),
        case("scaled", "jax: square", ruled(lambda x: x**2, lambda g, x: (g * x,), (5, 7)), number=0.5),
        case("scaled", "jax: dense weights by 3", pulled(dense, lambda d, w: (d, 3 * w), *first), number=3),
        case("missing-mean", "jax: mse", ruled(lambda y, t: jnp.mean((y - t) ** 2), lambda g, y, t: (2 * g * (y - t), -2 * g * (y - t)), (27, 3), (27, 3)), number=81),
        case("missing-term", "jax: sum of the weights behind stop_gradient", lambda draw: (lambda x, w: jnp.tanh(x @ w) + jax.lax.stop_gradient(w).sum(), (jnp.asarray(draw.array(6, 5)), jnp.asarray(draw.array(5, 4))), None)),
        case("zero", "jax: zeros for gamma", pulled(norm, lambda d, g: (d, jnp.zeros_like(g)), (8, 12), (12,))),
        case("zero", "jax: x through stop_gradient", lambda draw: (lambda x, w: jnp.tanh(jax.lax.stop_gradient(x) @ w), (jnp.asarray(draw.array(6, 5)), jnp.asarray(draw.array(5, 4))), None)),
        case("transposed", "jax: square dense", pulled(dense, lambda d, w: (d, w.T), (6, 8), (8, 8))),
        case("permuted", "jax: cumulative sum from the wrong end", pulled(lambda x: jnp.cumsum(x) ** 2, lambda d: (d[::-1],), (30,))),
        case("permuted", "jax: scan, steps rolled", pulled(lambda x: jax.lax.scan(lambda h, s: (jnp.tanh(h + s), h * s), jnp.zeros(4), x)[1], lambda d: (jnp.roll(d, 1, 0),), (9, 4))),
        case("missing-l2", "jax: penalty behind stop_gradient", lambda draw: (lambda w, x: jnp.mean(jax.nn.softplus(x @ w)) + 0.05 * jnp.sum(jax.lax.stop_gradient(w) ** 2), (jnp.asarray(draw.array(12)), jnp.asarray(draw.array(30, 12))), None), number=0.1),
        case("missing-term", "jax: residual", ruled(lambda x: x + jnp.sin(x), lambda g, x: (g * jnp.cos(x),), (50,))),
        case("low-precision", "jax: bfloat16", pulled(dense, lambda d, w: (d, w.astype(jnp.bfloat16).astype(w.dtype)), (20, 30), (30, 8))),
        case("low-precision", "jax: float16 for all", pulled(swish, lambda d: (d.astype(jnp.float16).astype(d.dtype),), (300,))),
        case("sparse", "jax: one weight", pulled(dense, lambda d, w: (d, w.at[3, 2].multiply(2)), *first)),
        case("sparse", "jax: last of a vector, 1e3", pulled(swish, lambda d: (d.at[-1].set(0),), (1000,)), right=("sparse", "mask")),
        case("accumulate", "jax: set for add in a scatter", ruled(lambda t: t[jnp.arange(21) % 7], lambda g, t: (jnp.zeros_like(t).at[jnp.arange(21) % 7].set(g),), (7, 5))),
        case("mask", "jax: relu", ruled(lambda x: jnp.maximum(x, 0), lambda g, x: (g,), (60,))),
        case("mask", "jax: where forgotten", ruled(lambda x, y: jnp.where(x > 0.3, x * y, y), lambda g, x, y: (g * y, g * jnp.where(x > 0.3, x, 1)), (40,), (40,))),
        case("not nameable", "jax: swish with the derivative of a sigmoid", ruled(swish, lambda g, x: (g * jax.nn.sigmoid(x) * (1 - jax.nn.sigmoid(x)),), (40,)), right=nameless),
        case("not nameable", "jax: sin for cos", ruled(jnp.sin, lambda g, x: (g * jnp.sin(x),), (30,)), right=nameless),
        case("not nameable", "jax: norm without the terms of its mean and variance", ruled(norm, lambda g, x, w: (g * w / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5), jax.vjp(norm, x, w)[1](g)[1]), (7, 9), (9,)), right=nameless, vague=("missing-term",)),
    ]  # fmt: skip
