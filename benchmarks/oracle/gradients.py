"""Gradient checks in full: verdicts, evaluations, resolutions and errors to the last bit, so that a new order of evaluations shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

import wellposed as wp
from tests.cases.gradient_bugs import BUGS, Bend, draw, hand_written

from .answers import Answer, Cases, distinct
from .checks import in_full

SIZES = {"float64": (1_000, 100_000), "float32": (1_000,)}
CORRECT_SEEDS = 3


def cases() -> Cases:
    return distinct([*_two_layers(), *_of_torch(), *_of_numpy(), *_of_jax()])


def checked(f: Any, *inputs: Any, **options: Any) -> Answer:
    torch.manual_seed(0)
    return in_full(wp.check_gradients(f, *inputs, **options))


def two_layers(bend: Callable[[Any], Bend], size: int, dtype: str, *, native: bool, seed: int = 0) -> Answer:
    """The regression of `tests.cases.gradient_bugs`; `native` code runs in its own precision alone."""
    problem = draw(size, dtype=getattr(torch, dtype), seed=seed)
    only = getattr(torch, dtype) if native else None
    return checked(hand_written(problem, bend(problem), only=only), *problem.parameters, seed=seed)


def _two_layers() -> Iterator[tuple[str, Callable[[], Answer]]]:
    for dtype, sizes in SIZES.items():
        for size in sizes:
            native = dtype == "float32"
            for seed in range(CORRECT_SEEDS):
                right = partial(two_layers, lambda _: Bend(), size, dtype, native=native, seed=seed)
                yield f"two layers, {dtype}, {size}, right, seed {seed}", right
            for bug in BUGS[:: 1 if size == 1_000 else 5]:
                yield (
                    f"two layers, {dtype}, {size}, {bug.name}",
                    partial(two_layers, bug.bend, size, dtype, native=native),
                )
    replayed = partial(two_layers, lambda _: Bend(), 1_000, "float32", native=False)
    yield "two layers, float32 replayed, right", replayed


def _normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def _net(*layers: nn.Module) -> nn.Module:
    """The layers with weights drawn from a fixed seed."""
    net = nn.Sequential(*layers)
    with torch.no_grad():
        for number, p in enumerate(net.parameters()):
            p.copy_(_normal(*p.shape, seed=number + 1) / max(p.shape[-1], 4) ** 0.5)
    return net


def _dropout_net() -> nn.Module:
    return _net(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 3))


def _attention(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.scaled_dot_product_attention(x, x.flip(1), x * 0.5)


def _problem() -> wp.Problem:
    x = _normal(64, 16)
    return wp.Problem(model=_dropout_net(), loss=nn.functional.cross_entropy, train=(x, x[:, :3].argmax(1)))


def _of_torch() -> Iterator[tuple[str, Callable[[], Answer]]]:
    wide = partial(_normal, dtype=torch.float64)
    smooth = lambda: _net(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2))  # noqa: E731
    yield "dropout and batch norm", lambda: checked(_dropout_net(), _normal(8, 16))
    yield "dropout and batch norm, no replay", lambda: checked(_dropout_net(), _normal(8, 16), replay=False)
    yield "problem", lambda: checked(_problem())
    yield "tanh net", lambda: checked(smooth(), _normal(5, 6))
    yield "tanh net, finer resolution", lambda: checked(smooth(), _normal(5, 6), resolution=1e-6)
    yield "tanh net, another seed", lambda: checked(smooth(), _normal(5, 6), seed=7)
    yield "forward mode", lambda: checked(torch.sin, wide(12), mode="forward")
    yield "forward against reverse", lambda: checked(torch.sin, wide(12), mode="forward-reverse")
    yield "second order", lambda: checked(torch.sin, wide(12), order=2)
    yield "second order of a net", lambda: checked(smooth().double(), wide(4, 6), order=2)
    yield "attention", lambda: checked(_attention, _normal(2, 5, 8))
    yield (
        "attention in bfloat16 alone",
        lambda: checked(_attention, _normal(2, 5, 8, dtype=torch.bfloat16), replay=False),
    )
    yield (
        "complex",
        lambda: checked(
            lambda z: (z * z.conj()).real.sum() + z.imag.sum(), torch.complex(wide(5), wide(5, seed=1))
        ),
    )
    yield "at a kink", lambda: checked(torch.abs, torch.zeros(4, dtype=torch.float64))
    yield "not finite", lambda: checked(torch.sqrt, torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64))
    yield "not deterministic", lambda: checked(lambda x: x.sum() * _count(), wide(4))
    yield (
        "tiny beside the others",
        lambda: checked(lambda a, b: (a**2).sum() + 1e-9 * (b**2).sum(), wide(6), wide(6, seed=1)),
    )
    yield "rounded inside", lambda: checked(lambda x: (x.float() ** 3).sum().double(), wide(20))
    yield "shifted by 1e8", lambda: checked(lambda x: torch.sin(x + 1e8).sum(), wide(5))
    yield "lstm", lambda: checked(lambda x: _lstm()(x)[0], _normal(3, 4, 5))
    yield (
        "convolution",
        lambda: checked(
            _net(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(64, 2)), _normal(2, 3, 6, 6)
        ),
    )
    yield "detached", lambda: checked(lambda x: (x * x.detach()).sum(), wide(6))


_calls = iter(range(10**9))


def _count() -> int:
    """Another number at each call, from where no check puts it back."""
    return 1 + next(_calls)


def _lstm() -> nn.Module:
    lstm = nn.LSTM(5, 4, batch_first=True)
    with torch.no_grad():
        for number, p in enumerate(lstm.parameters()):
            p.copy_(_normal(*p.shape, seed=number + 1) / 2)
    return lstm


def _of_numpy() -> Iterator[tuple[str, Callable[[], Answer]]]:
    rng = np.random.default_rng(0)
    X, T, W = rng.normal(size=(50, 6)), rng.normal(size=(50, 3)), rng.normal(size=(6, 3))

    def loss(W: Any) -> Any:
        return np.sum((X @ W - T) ** 2) / (2 * len(X))

    def gradient(W: Any) -> Any:
        return X.T @ (X @ W - T) / len(X)

    def last_row_zero(W: Any) -> Any:
        return gradient(W) * np.r_[np.ones(5), 0][:, None]

    def cost(p: Any) -> Any:
        return np.sum(np.tanh(X @ p["W"] + p["b"]))

    def cost_gradient(p: Any) -> Any:
        d = 1 - np.tanh(X @ p["W"] + p["b"]) ** 2
        return {"dW": X.T @ d, "db": d.sum(0)}

    parameters = {"W": W, "b": rng.normal(size=3)}
    yield "NumPy, right", lambda: checked(loss, W, gradient=gradient)
    yield "NumPy, sign", lambda: checked(loss, W, gradient=lambda W: -gradient(W))
    yield "NumPy, without the mean", lambda: checked(loss, W, gradient=lambda W: 50 * gradient(W))
    yield "NumPy, without the last row", lambda: checked(loss, W, gradient=last_row_zero)
    yield "NumPy, an array for the gradient", lambda: checked(loss, W, gradient=gradient(W))
    yield "NumPy, a dict", lambda: checked(cost, parameters, gradient=cost_gradient)
    yield (
        "NumPy, a Jacobian",
        lambda: checked(np.sin, np.arange(4.0), gradient=np.diag(np.cos(np.arange(4.0)))),
    )
    yield (
        "NumPy, float32",
        lambda: checked(
            lambda W: np.float32(loss(W)),
            W.astype(np.float32),
            gradient=lambda W: gradient(W).astype(np.float32),
        ),
    )


def _of_jax() -> Iterator[tuple[str, Callable[[], Answer]]]:
    yield "JAX, right", lambda: _jax(1.0)
    yield "JAX, scaled", lambda: _jax(2.0)


def _jax(factor: float) -> Answer:
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def square(x: Any) -> Any:
        return jnp.sum(jnp.sin(x) ** 2)

    def forward(x: Any) -> Any:
        return square(x), x

    def backward(x: Any, upstream: Any) -> Any:
        return (factor * upstream * jnp.sin(2 * x),)

    square.defvjp(forward, backward)
    return checked(
        lambda p: square(p["a"]) + jnp.sum(p["b"] ** 2), {"a": jnp.arange(5.0), "b": jnp.ones((2, 2))}
    )
